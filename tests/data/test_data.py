"""Data is a sequence whose images keep their index, and its samples are stratified, nested and told apart."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
import torch
from folders import classes, folder_of, picture, synset_folders
from refusals import refused

from gradlens import Preprocess, load_data
from gradlens.data._data import stratified_order


def test_unreadable_images_are_left_out_of_a_batch_and_reported(tmp_path):
    folder_of(tmp_path, cat=4)
    (tmp_path / "cat" / "01.png").write_bytes(b"not a picture")
    data = load_data(tmp_path)
    batch, failures = data.read([0, 1, 3])
    assert batch.index.tolist() == [0, 3]
    assert list(failures) == [1]
    assert "01.png: cannot identify" in failures[1]
    assert data.read([1])[0] is None
    with refused("cannot read", "01.png"):
        data.batch([0, 1])


def test_a_preprocess_is_identified_by_all_it_does():
    hashes = {Preprocess(*p).hash for p in [(), (225,), (224, 0.9), (224, 0.875, "bilinear")]}
    assert len(hashes) == 4
    assert Preprocess().hash == Preprocess(224, 0.875, "bicubic", "center").hash


def test_pictures_of_several_sizes_need_a_preprocess(tmp_path):
    folder_of(tmp_path, cat=1)
    picture(size=(9, 9)).save(tmp_path / "cat" / "z.png")
    with refused("16×20", "9×9", "Preprocess"):
        load_data(tmp_path).batch([0, 1])
    assert load_data(tmp_path).bind(Preprocess(size=8)).batch([0, 1]).image.shape == (2, 3, 8, 8)


def random_classes(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 40, rng.integers(1, 12)) ** rng.integers(1, 3)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return [f"{seed}/{i}" for i in range(len(labels))], labels


@pytest.mark.parametrize("seed", range(20))
def test_every_prefix_of_a_sample_takes_the_same_share_of_each_class(seed):
    paths, labels = random_classes(seed)
    order = stratified_order(paths, labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    counts, sizes = np.eye(labels.max() + 1)[labels[order]].cumsum(0), np.bincount(labels)
    # One share t of every class fits each prefix when counts are rounded from t · size.
    least, most = ((counts - 0.5) / sizes).max(1), ((counts + 0.5) / sizes).min(1)
    assert (least <= most + 1e-12).all()


def test_classes_of_equal_size_differ_by_at_most_one_image():
    labels = np.tile(np.arange(7), 11)
    order = stratified_order([str(i) for i in range(77)], labels)
    counts = np.eye(7)[labels[order]].cumsum(0)
    assert (counts.max(1) - counts.min(1)).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_within_a_class_depends_on_no_other_image(seed):
    paths, labels = random_classes(seed)
    order = stratified_order(paths, labels)
    shuffle = np.random.default_rng(seed).permutation(len(labels))
    again = shuffle[stratified_order([paths[i] for i in shuffle], labels[shuffle])]
    assert order.tolist() == again.tolist()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        alone = members[stratified_order([paths[i] for i in members], labels[members])]
        assert order[labels[order] == label].tolist() == alone.tolist()


def test_limits_are_nested_and_keep_the_sources_indices():
    data = load_data("digits")
    samples = [set(data.limit(n).indices.tolist()) for n in (5, 30, 100, 297, 1000)]
    assert [len(s) for s in samples] == [5, 30, 100, 297, 297]
    assert all(a <= b for a, b in itertools.pairwise(samples))
    limited = load_data("digits", limit=30)
    assert set(limited.indices.tolist()) == samples[1]
    image, label, index = limited[7]
    assert index == limited.indices[7]
    assert torch.equal(image, data[index][0])
    assert label == data.labels[index]
    assert data.limit(30, seed=1).indices.tolist() != limited.indices.tolist()


def test_a_limit_of_none_or_nothing():
    data = load_data("digits")
    assert data.limit(None) is data
    with refused("at least 1"):
        data.limit(0)


def test_a_batch_is_looked_up_by_index_in_the_order_asked_for():
    data = load_data("digits")
    batch = data.subset([40, 3, 9]).batch([9, 100])
    assert batch.index.tolist() == [9, 100]
    assert batch.target.tolist() == data.labels[[9, 100]].tolist()
    assert torch.equal(batch.image[1], data[100][0])
    assert data.subset([40, 3, 9]).labels.tolist() == data.labels[[40, 3, 9]].tolist()


@pytest.mark.parametrize("indices", [[0, 297], [-1]])
def test_an_index_that_is_not_there_is_refused(indices):
    with refused(f"no image {indices[-1]} in digits/val", "0 to 296"):
        load_data("digits").batch(indices)
    with refused(f"no image {indices[-1]} in digits/val"):
        load_data("digits").subset(indices)


def test_a_subset_cannot_hold_an_image_twice():
    with refused("twice"):
        load_data("digits").subset([4, 5, 4])


def test_a_sequence_ends():
    data = load_data("digits", limit=4)
    assert len(list(data)) == 4
    assert data[-1][2] == data[3][2]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            data[outside]


def test_fingerprints_tell_samples_and_splits_apart():
    sets = [load_data("digits"), load_data("digits", split="test"), load_data("digits", limit=20), load_data("photos")]
    assert len({d.fingerprint for d in sets}) == 4
    assert load_data("digits").fingerprint == sets[0].fingerprint
    assert sets[0].bind(Preprocess()).fingerprint == sets[0].fingerprint


def test_fingerprints_tell_arrays_in_memory_apart_by_their_pixels():
    images = torch.rand(3, 3, 8, 8)
    other = images.clone()
    other[2, 1, 4, 4] = 0.5
    prints = [load_data((i, [0, 1, 2])).fingerprint for i in (images, images.clone(), other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_folder_is_known_by_what_it_holds_wherever_it_lies(tmp_path):
    one = load_data(classes(tmp_path / "x", "a", "b", count=3))
    known = one.fingerprint
    shutil.copytree(tmp_path / "x", tmp_path / "elsewhere" / "set" / "val")
    copies = [load_data(tmp_path / "elsewhere" / place) for place in ("set", "set/val")]
    assert [data.name for data in (one, *copies)] == ["x", "set/val", "set/val"]
    assert {data.fingerprint for data in copies} == {known}
    shutil.copyfile(tmp_path / "x/a/0.jpg", tmp_path / "x/b/2.jpg")
    assert load_data(tmp_path / "x").fingerprint != known
    assert load_data(**copies[0].options).name == "set/val"


def test_fingerprints_are_those_of_runs_that_were_written_before():
    known = {"digits": "1def2093404ddc69", "shapes": "b3c759cee6aea344", "photos": "6f970cefbf4a6d53"}
    assert {name: load_data(name).fingerprint for name in known} == known
    assert load_data("digits", limit=40).fingerprint == "db71add4b715c6e9"
    pixels = np.linspace(0, 1, 3 * 3 * 4 * 4).reshape(3, 3, 4, 4)
    assert load_data((pixels, [0, 1, 2])).fingerprint == "f60d2607427d3793"


def test_the_fingerprint_of_imagenet_is_that_of_runs_that_were_written_before(tmp_path, four_classes):
    synset_folders(tmp_path)
    assert load_data("imagenet-val", root=tmp_path).fingerprint == "752bed46e27cc996"
