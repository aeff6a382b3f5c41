"""However ImageNet was unpacked, it is the same images, labels, names, identities and order."""

from __future__ import annotations

import pickle
from dataclasses import replace

import folders
import numpy as np
import pandas as pd
import pytest
from folders import CLASSES, EXPECTED, LAYOUTS, NAMES, WNIDS, flat, put, tar_of, write_all
from refusals import refused

from gradlens import Preprocess, analyze, load_data, load_model

pytestmark = pytest.mark.usefixtures("four_classes")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The pixels of every image, read by hand."""
    from gradlens.data import to_tensor

    root = tmp_path_factory.mktemp("reference")
    files = [put(root / f"{i}.jpeg", folders.jpeg(i)) for i in range(len(CLASSES))]
    return [to_tensor(f)[0] for f in files]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_holds_the_same_data(name, tmp_path, reference):
    data = load_data("imagenet-val", root=tmp_path, **LAYOUTS[name](tmp_path))
    assert [data.path(i) for i in data.indices] == [path for path, _, _ in EXPECTED]
    assert data.labels.tolist() == [c for _, c, _ in EXPECTED]
    assert data.class_names == NAMES
    assert data.name == "imagenet-val"
    for (image, _, _), (_, _, number) in zip(data, EXPECTED, strict=True):
        assert image.equal(reference[number])


def test_every_layout_gives_the_same_table(tmp_path):
    tables = []
    model = load_model("gradlens.models._zoo:digits_cnn", normalized=True, device="cpu")
    model.card = replace(model.card, preprocess=Preprocess(16, 1.0))
    for name, write in LAYOUTS.items():
        data = load_data("imagenet-val", root=tmp_path / name, **write(tmp_path / name))
        tables.append(analyze(model, data, progress=False).samples)
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_a_sample_and_the_fingerprint_do_not_depend_on_the_layout(tmp_path):
    made = []
    for name, write in LAYOUTS.items():
        options = write(tmp_path / name)
        made.append(load_data("imagenet-val", root=tmp_path / name, limit=5, **options))
    assert len({d.fingerprint for d in made}) == 1
    assert len({tuple(d.indices) for d in made}) == 1


@pytest.mark.parametrize("name", ["tar_of_synset_folders", "flat_with_devkit_ids_given", "synset_folders"])
def test_data_are_opened_again_from_their_options_and_travel_to_workers(name, tmp_path):
    data = load_data("imagenet-val", root=tmp_path, **LAYOUTS[name](tmp_path))
    for again in (load_data(**data.options), pickle.loads(pickle.dumps(data))):
        assert again.fingerprint == data.fingerprint
        assert again[4][0].equal(data[4][0])


def test_ids_that_the_devkit_lacks_and_a_damaged_devkit_are_refused(tmp_path):
    flat(tmp_path)
    put(tmp_path / folders.TRUTH, folders.ground_truth().replace("4", "7"))
    put(tmp_path / "meta.mat", folders.meta_mat())
    with refused("ILSVRC id 7", "unknown class"):
        load_data("imagenet-val", root=tmp_path)
    whole = folders.meta_mat()
    for damaged in (whole[:300], whole[:100], whole[:250] + b"x" + whole[251:], b""):
        put(tmp_path / "meta.mat", damaged)
        with refused("meta.mat", "copy it again"):
            load_data("imagenet-val", root=tmp_path)


def test_a_flat_folder_without_labels_is_refused(tmp_path):
    with refused("9 images", "flat folder", "LOC_val_solution.csv", "--labels"):
        load_data("imagenet-val", root=flat(tmp_path))
    with refused("no file", "--labels"):
        load_data("imagenet-val", root=tmp_path, labels=tmp_path / "none.txt")


def test_synset_folders_that_are_not_all_of_them_are_refused(tmp_path):
    folders.synset_folders(tmp_path)
    for file in (tmp_path / WNIDS[2]).iterdir():
        file.unlink()
    with refused("3 synsets, wanted 4", WNIDS[2], "--class-map imagenet"):
        load_data("imagenet-val", root=tmp_path)
    (tmp_path / WNIDS[2]).rmdir()
    with refused("3 synsets, wanted 4", WNIDS[2]):
        load_data("imagenet-val", root=tmp_path)
    part = load_data(tmp_path, class_map="imagenet")
    assert sorted(set(part.labels.tolist())) == [0, 1, 3]
    assert part.class_names == NAMES
    (tmp_path / "n09999999").mkdir()
    with refused("no synset", "n09999999", "--data-dir"):
        load_data("imagenet-val", root=tmp_path)


def test_a_number_of_images_that_is_not_the_whole_set_is_noted(tmp_path):
    folders.synset_folders(tmp_path)
    assert "found 9 images" in load_data("imagenet-val", root=tmp_path).notes[0]
    listed = put(tmp_path / "ids.txt", "0\n3\n")
    assert load_data("imagenet-val", root=tmp_path, subset=listed).notes == ()


def test_an_empty_root_is_refused(tmp_path):
    write_all(tmp_path, {f"train/{WNIDS[0]}/x.JPEG": folders.jpeg(0)})
    with refused("no picture", "ILSVRC/Data/CLS-LOC/val", "--data-dir"):
        load_data("imagenet-val", root=tmp_path)


@pytest.mark.parametrize(("name", "valid"), [("imagenet-a", (1, 3)), ("imagenet-r", (0, 2))])
@pytest.mark.parametrize("below", ["", "inside/", "tar"])
def test_a_variant_is_labelled_as_classes_of_the_thousand(name, valid, below, tmp_path):
    files = {f"{WNIDS[c]}/{i}.jpg": folders.jpeg(i) for i in range(3) for c in valid}
    if below == "tar":
        tar_of(tmp_path / f"{name}.tar", {f"{name}/{k}": v for k, v in files.items()})
    else:
        write_all(tmp_path / (name if below else ""), files)
    data = load_data(name, root=tmp_path)
    assert data.labels.tolist() == [valid[0]] * 3 + [valid[1]] * 3
    assert data.valid_classes == valid
    assert data.class_names == NAMES
    other = set(range(4)) - set(valid)
    write_all(tmp_path / "wrong" / name, {f"{WNIDS[c]}/y.jpg": folders.jpeg(9) for c in other})
    with refused("no synset of this data", "wanted 2"):
        load_data(name, root=tmp_path / "wrong")


def test_a_variant_that_lacks_a_class_is_refused(tmp_path):
    write_all(tmp_path, {f"{WNIDS[1]}/y.jpg": folders.jpeg(9)})
    with refused("1 synsets, wanted 2", WNIDS[3]):
        load_data("imagenet-a", root=tmp_path)


def test_labels_are_the_whole_truth_when_read_as_numpy(tmp_path):
    data = load_data("imagenet-val", root=tmp_path, **folders.synset_folders(tmp_path))
    assert data.labels.dtype == np.int64
    assert data.batch([0, 8]).target.tolist() == [0, 3]


@pytest.mark.parametrize("name", ["flat_with_devkit_ids", "tar_of_flat_files", "synset_folders_in_val"])
def test_a_folder_of_data_sets_holds_it_below_its_name(name, tmp_path):
    LAYOUTS[name](tmp_path / "imagenet")
    assert load_data("imagenet-val", root=tmp_path).labels.tolist() == [c for _, c, _ in EXPECTED]


def test_a_folder_of_all_synsets_has_readable_names(tmp_path):
    data = load_data(tmp_path, **folders.synset_folders(tmp_path))
    assert data.class_names == NAMES
    assert data.notes == ()
