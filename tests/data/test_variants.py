"""Published test sets open in the layouts they are distributed in, with the labels that their authors mean."""

from __future__ import annotations

import json

import numpy as np
import pytest
from folders import CIFAR_CLASSES, CLASSES, NAMES, WNIDS, caffe, file_name, flat, jpeg, put, write_all
from PIL import Image
from refusals import refused

from gradlens import load_data
from gradlens.data import _classes

pytestmark = pytest.mark.usefixtures("four_classes")


def test_imagenet_v2s_folders_are_the_numbers_of_classes_and_not_text(tmp_path, monkeypatch):
    twelve = tuple(f"n{i:08d}" for i in range(12))
    monkeypatch.setattr(_classes, "wnids", lambda: twelve)
    monkeypatch.setattr(_classes, "class_names", lambda: twelve)
    for variant in ("matched-frequency", "threshold0.7"):
        write_all(tmp_path / f"imagenetv2-{variant}-format-val", {f"{c}/{variant}{c}.jpeg": jpeg(c) for c in range(12)})
    data = load_data("imagenet-v2", root=tmp_path)
    assert data.labels.tolist() == list(range(12))
    assert [data.path(i).split("/")[1] for i in (2, 10)] == ["matched-frequency2.jpeg", "matched-frequency10.jpeg"]
    other = load_data("imagenet-v2:variant=threshold0.7", root=tmp_path)
    assert other.name == "imagenet-v2/threshold0.7"
    assert load_data(**other.options).fingerprint == other.fingerprint != data.fingerprint
    with refused("'best'", "threshold0.7"):
        load_data("imagenet-v2:variant=best", root=tmp_path)


def test_sketches_are_labelled_by_synset(tmp_path):
    write_all(tmp_path / "sketch", {f"{wnid}/sketch_{i}.JPEG": jpeg(i) for i, wnid in enumerate(WNIDS)})
    data = load_data("imagenet-sketch", root=tmp_path)
    assert (data.labels.tolist(), data.class_names) == ([0, 1, 2, 3], NAMES)


def test_reassessed_labels_that_stand_alone_are_labels_and_others_unknown(tmp_path):
    real = [[c] for c in CLASSES]
    real[0], real[1], real[2] = [0, 3], [], [1]
    flat(tmp_path)
    put(tmp_path / "val.txt", caffe())
    put(tmp_path / "real.json", json.dumps(real))
    data = load_data("imagenet-real", root=tmp_path)
    found = {data.path(i).split("/")[1]: data.labels[i] for i in range(len(data))}
    wanted = [-1, -1, 1, *CLASSES[3:]]
    assert found == {file_name(i): label for i, label in enumerate(wanted)}
    assert any("1 images have several labels, 1 none" in note for note in data.notes)
    put(tmp_path / "real.json", json.dumps(real[:3]))
    with refused("real.json", "lists 3 images"):
        load_data("imagenet-real", root=tmp_path)


@pytest.mark.parametrize("above", ["", "ImageNet-C/", "ImageNet-C/weather/"])
def test_a_corruption_of_imagenet_is_one_folder_of_synsets(above, tmp_path):
    files = {
        f"{above}{c}/{s}/{w}/{file_name(i)}": jpeg(i)
        for c in ("fog", "snow")
        for s in "13"
        for i, w in enumerate(WNIDS)
    }
    write_all(tmp_path, files)
    data = {s: load_data(f"imagenet-c:corruption=fog,severity={s}", root=tmp_path) for s in (1, 3)}
    assert data[3].labels.tolist() == [0, 1, 2, 3]
    assert (data[3].name, data[3].path(0)) == ("imagenet-c/fog/3", f"fog/3/{WNIDS[0]}/{file_name(0)}")
    assert data[1].fingerprint != data[3].fingerprint == load_data(**data[3].options).fingerprint
    for spec in ("imagenet-c", "imagenet-c:corruption=fog", "imagenet-c:corruption=rain,severity=1"):
        with refused("imagenet-c:corruption=NAME", "fog, snow"):
            load_data(spec, root=tmp_path)
    with refused("takes no strength"):
        load_data("imagenet-c:strength=3", root=tmp_path)


def test_objects_are_the_classes_that_their_mapping_names_without_their_frame(tmp_path, monkeypatch):
    texts = ("tench, Tinca tinca", "mountain bike, off-roader", "tandem bicycle, tandem", "crane")
    monkeypatch.setattr(_classes, "descriptions", lambda: texts)
    base = tmp_path / "objectnet-1.0"
    folders = {"fish": "Fish", "bike": "Bicycle", "air_freshener": "Air freshener"}
    put(base / "mappings/folder_to_objectnet_label.json", json.dumps(folders))
    mapped = {"Fish": texts[0], "Bicycle": f"{texts[1]}; {texts[2]}"}
    put(base / "mappings/objectnet_to_imagenet_1k.json", json.dumps(mapped))
    inside = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    framed = np.pad(inside, ((1, 1), (1, 1), (0, 0)), constant_values=99)
    for folder in folders:
        (base / "images" / folder).mkdir(parents=True)
        Image.fromarray(framed).save(base / "images" / folder / "0.png")
    data = load_data("objectnet", root=tmp_path)
    assert {data.path(i): int(data.labels[i]) for i in range(len(data))} == {"fish/0.png": 0, "bike/0.png": -1}
    assert data.valid_classes == (0, 1, 2)
    assert np.array_equal(data[0][0].numpy().transpose(1, 2, 0) * 255, inside.astype(np.float32))


def test_a_corruption_of_cifar_is_its_fifth_of_an_array(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "CIFAR-10-C").mkdir()
    np.save(tmp_path / "CIFAR-10-C/fog.npy", images)
    np.save(tmp_path / "CIFAR-10-C/labels.npy", np.arange(50) % 10)
    data = load_data("cifar10-c:corruption=fog,severity=3", root=tmp_path)
    assert (data.name, len(data), data.class_names) == ("cifar10-c/fog/3", 10, CIFAR_CLASSES)
    assert data.labels.tolist() == list(range(10))
    assert np.allclose(data[4][0].numpy().transpose(1, 2, 0) * 255, images[24])
    with refused("cifar10-c:corruption=NAME", "corruptions: fog"):
        load_data("cifar10-c", root=tmp_path)
    with refused("cifar10-c:corruption=fog,severity=3"):
        load_data(tmp_path / "CIFAR-10-C")


@pytest.mark.parametrize("spec", ["tiny-imagenet", "tiny-imagenet-200"])
def test_tiny_imagenets_flat_val_has_the_classes_of_its_train(spec, tmp_path):
    base, listed = tmp_path / "tiny-imagenet-200", (WNIDS[3], WNIDS[0], WNIDS[1])
    write_all(base / "train", {f"{w}/images/{w}_{i}.JPEG": jpeg(i) for w in listed for i in range(2)})
    write_all(base / "val/images", {f"val_{i}.JPEG": jpeg(i) for i in range(3)})
    put(base / "wnids.txt", "\n".join(listed))
    put(base / "val/val_annotations.txt", "".join(f"val_{i}.JPEG\t{w}\t0\t32\t44\t62\n" for i, w in enumerate(listed)))
    train, val = (load_data(spec, split, root=tmp_path) for split in ("train", "val"))
    assert train.class_names == val.class_names == tuple(sorted(listed))
    assert val.labels.tolist() == [sorted(listed).index(w) for w in listed]
