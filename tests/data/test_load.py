"""A spec means one data set, the options it takes reach it, and others are refused."""

from __future__ import annotations

import folders
import pytest
from folders import classes, jpeg, put, write_all
from refusals import refused

from gradlens import load_data


def test_an_unknown_embedded_set_or_split_offers_the_nearest():
    with refused("'digit'", "digits"):
        load_data("digit")
    with refused("split of digits", "'vall'", "val"):
        load_data("digits", split="vall")


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


@pytest.mark.usefixtures("four_classes")
@pytest.mark.parametrize("variable", ["GRADLENS_DATA", "IMAGENET_DIR"])
def test_the_root_comes_from_the_environment(variable, tmp_path, monkeypatch):
    folders.synset_folders(tmp_path / "here")
    monkeypatch.setenv(variable, str(tmp_path / "here"))
    data = load_data("imagenet-val")
    assert len(data) == 9
    assert data.options["root"] == str(tmp_path / "here")
    for name in ("imagenet-val", "digits", "cats"):
        with refused("nowhere", "does not exist", "--data-dir"):
            load_data(name, root=tmp_path / "nowhere")


def test_a_named_set_without_a_root_is_refused():
    with refused("imagenet-val", "no folder was given", "--data-dir", "$GRADLENS_DATA"):
        load_data("imagenet-val")


@pytest.mark.usefixtures("four_classes")
def test_a_named_set_has_its_split_in_its_name(tmp_path):
    folders.synset_folders(tmp_path)
    with refused("imagenet-val", "'train'", "--split"):
        load_data("imagenet-val", root=tmp_path, split="train")
