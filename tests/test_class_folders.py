"""Which class a folder is, told by its place, a map or a list, and never by a guess."""

from __future__ import annotations

import json

import pytest
from folders import classes, jpeg, put, write_all
from refusals import refused

from gradlens import load_data


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


MAPS = {
    "pairs.txt": "dog 3\ncat 1\n",
    "header.csv": "folder,index\ndog,3\ncat,1\n",
    "map.json": json.dumps({"dog": 3, "cat": 1}),
    "keras.json": json.dumps({"3": ["dog", "a dog"], "1": ["cat", "a cat"]}),
    "list.txt": "bird\ncat\nfox\ndog\n",
    "spaces.txt": "a bird\ncat\nred fox\ndog\n",
    "list.json": json.dumps(["bird", "cat", "fox", "dog"]),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_class_map_is_written_in_any_way(name, tmp_path):
    classes(tmp_path / "data", "cat", "dog")
    data = load_data(tmp_path / "data", class_map=put(tmp_path / name, MAPS[name]))
    assert data.labels.tolist() == [1, 3]
    assert (data.class_names[1], data.class_names[3], len(data.class_names)) == ("cat", "dog", 4)
    assert load_data(**data.options).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "cat 1\n", ["1 class folders", "dog", "--class-map"]),
        ("a.txt", "cat 1\ndog\nfox\n", ["'dog'", "FOLDER INDEX"]),
        ("a.txt", "cat 1\ncat 2\n", ["'cat'", "1 and 2"]),
        ("a.txt", "cat 1\ndog 99999999\n", ["dog 99999999", "999,999"]),
        ("a.json", '{"cat": -1}', ["cat -1"]),
        ("a.json", "{}", ["no class"]),
        ("a.json", "{", ["no class map", "JSON"]),
        ("a.json", "3", ["no class map", "JSON"]),
        ("a.json", '{"cat": "x"}', ["no class map"]),
    ],
)
def test_a_class_map_that_does_not_fit_is_refused(name, content, words, tmp_path):
    classes(tmp_path / "data", "cat", "dog")
    with refused(*words):
        load_data(tmp_path / "data", class_map=put(tmp_path / name, content))


def test_a_list_may_name_classes_of_a_class_map(tmp_path):
    write_all(tmp_path / "data", {"a.jpg": jpeg(0), "b.jpg": jpeg(1)})
    given = {
        "labels": put(tmp_path / "labels.csv", "a.jpg,dog\nb.jpg,cat\n"),
        "class_map": put(tmp_path / "map.txt", "dog 3\ncat 1\n"),
    }
    assert load_data(tmp_path / "data", **given).labels.tolist() == [3, 1]
    with refused("'dog'", "unknown class"):
        load_data(tmp_path / "data", labels=given["labels"])


@pytest.mark.parametrize("option", ["labels", "class_map", "class_order"])
def test_an_option_that_would_do_nothing_is_refused(option):
    with refused("--" + option.replace("_", "-"), "digits", "leave it out"):
        load_data("digits", **{option: "text"})


def test_a_subset_of_an_embedded_set_is_taken(tmp_path):
    data = load_data("digits", subset=put(tmp_path / "ids.txt", "7\n3\n"))
    assert data.indices.tolist() == [3, 7]


def test_the_flags_of_the_command_line_reach_the_data(tmp_path):
    from gradlens.cli.options import DataOptions

    classes(tmp_path, "1", "2", "10")
    listed = put(tmp_path / "ids.txt", "2/0.jpg\n")
    data = DataOptions(data=".", data_dir=tmp_path, class_order="natural", subset=listed).open()
    assert data.labels.tolist() == [1]
    folders_flat = {"a.jpg": jpeg(0)}
    write_all(tmp_path / "flat", folders_flat)
    labels = put(tmp_path / "labels.txt", "a.jpg cat\n")
    mapped = put(tmp_path / "map.txt", "cat 5\n")
    data = DataOptions(data=str(tmp_path / "flat"), labels=labels, class_map=str(mapped)).open()
    assert data.labels.tolist() == [5]


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
