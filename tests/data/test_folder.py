"""Which class a folder is, told by its place, a map or a list, and never by a guess."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from folders import classes, folder_of, jpeg, picture, put, write_all
from refusals import refused

from gradlens import load_data


def test_a_folder_of_class_folders_is_labelled_in_sorted_order(tmp_path):
    data = load_data(folder_of(tmp_path, dog=2, cat=1, bird__young=2))
    assert data.class_names == ("bird", "cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 2, 2]
    assert [data.path(i) for i in range(5)] == [
        *("bird/young/00.png", "bird/young/01.png"),
        *("cat/00.png", "dog/00.png", "dog/01.png"),
    ]
    torch.testing.assert_close(data[2][0], torch.from_numpy(np.array(picture(100))).permute(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("held", "asked"), [("val", "val"), ("validation", "val"), ("train", "train"), ("test", "test")]
)
def test_a_split_is_its_sub_folder_where_there_is_one(tmp_path, held, asked):
    folder_of(tmp_path, **{f"{held}__cat": 2, f"{held}__dog": 1, "other__cat": 5})
    data = load_data(tmp_path, split=asked)
    assert data.class_names == ("cat", "dog")
    assert len(data) == 3


def test_a_folder_without_split_folders_is_the_split_asked_for(tmp_path):
    folder_of(tmp_path, cat=1, dog=2)
    assert len(load_data(tmp_path, split="train")) == len(load_data(tmp_path, split="val")) == 3


def test_a_split_that_a_folder_of_splits_lacks_is_refused(tmp_path):
    folder_of(tmp_path, train__cat=1, val__cat=1)
    with refused("train and val", "'test'"):
        load_data(tmp_path, split="test")


def test_a_flat_folder_is_unlabelled(tmp_path):
    folder_of(tmp_path, flat=3)
    data = load_data(tmp_path / "flat")
    assert data.labels.tolist() == [-1, -1, -1]
    assert (data.labelled, data.class_names) == (False, ())
    assert data.batch([0]).target is None


def test_a_relative_folder_is_looked_for_below_its_root(tmp_path):
    folder_of(tmp_path, set__cat=2)
    assert len(load_data("set", root=tmp_path)) == 2


def test_hidden_files_and_folders_are_left_out(tmp_path):
    folder_of(tmp_path, cat=2, dog=1, **{".cache": 1})
    (tmp_path / "cat" / "._00.png").write_bytes(b"resource fork")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    assert load_data(tmp_path).labels.tolist() == [0, 0, 1]


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    with refused(str(tmp_path), "no image", ".png"):
        load_data(tmp_path)
    folder_of(tmp_path, cat=1, dog=0)
    with refused("'dog'", "shift the classes"):
        load_data(tmp_path)
    with refused("there is no", "nowhere", "folder"):
        load_data(tmp_path / "nowhere")
    with refused("00.png is a file", "folder"):
        load_data(tmp_path / "cat" / "00.png")


def test_numeric_folders_are_not_put_in_an_order_by_guess(tmp_path):
    classes(tmp_path, "1", "2", "10")
    with refused("1, 10, 2 as text (torchvision)", "1, 2, 10 by number (timm)", "--class-order"):
        load_data(tmp_path)
    assert load_data(tmp_path, class_order="text").class_names == ("1", "10", "2")
    data = load_data(tmp_path, class_order="natural")
    assert data.class_names == ("1", "2", "10")
    assert [data.path(i) for i in range(3)] == ["1/0.jpg", "2/0.jpg", "10/0.jpg"]
    assert data.labels.tolist() == [0, 1, 2]
    assert "natural order: 1, 2, 10" in data.notes[0]
    assert load_data(**data.options).fingerprint == data.fingerprint
    with refused("class order", "'naturl'", "natural"):
        load_data(tmp_path, class_order="naturl")


def test_the_orders_are_those_of_torchvision_and_timm(tmp_path):
    from timm.data import ImageDataset
    from torchvision.datasets import ImageFolder

    classes(tmp_path, "c10", "c9", "B", "a")
    text, natural = (load_data(tmp_path, class_order=o).class_names for o in ("text", "natural"))
    assert list(text) == ImageFolder(str(tmp_path)).classes
    assert list(natural) == list(ImageDataset(str(tmp_path)).reader.class_to_idx)
    assert text != natural


def test_folders_that_both_sort_alike_need_no_order(tmp_path):
    classes(tmp_path, "001", "002", "010")
    assert load_data(tmp_path).notes == ()


def test_what_is_allowed_but_doubtful_is_noted(tmp_path):
    classes(tmp_path / "one", "all", count=3)
    assert "all 3 images" in load_data(tmp_path / "one").notes[0]
    classes(tmp_path / "two", "a", "b")
    put(tmp_path / "two" / "loose.jpg", jpeg(0))
    data = load_data(tmp_path / "two")
    assert len(data) == 2
    assert "1 images" in data.notes[0]
    assert "left out" in data.notes[0]
    assert load_data("digits").notes == ()


def test_some_of_imagenets_folders_are_said_to_be_numbered_from_zero(tmp_path):
    data = load_data(classes(tmp_path, "n01440764", "n02012849"))
    assert data.labels.tolist() == [0, 1]
    assert "--class-map imagenet" in data.notes[0]
    data = load_data(tmp_path, class_map="imagenet")
    assert data.labels.tolist() == [0, 134]
    assert (data.notes, data.class_names[134]) == ((), "crane (n02012849)")


def test_a_flat_folder_is_said_to_be_unlabelled(tmp_path):
    write_all(tmp_path, {"a.jpg": jpeg(0)})
    assert "--labels" in load_data(tmp_path).notes[0]


def test_an_order_that_would_do_nothing_is_refused(tmp_path):
    with refused("--class-order", "--class-map"):
        load_data(classes(tmp_path, "a"), class_map="imagenet", class_order="text")
