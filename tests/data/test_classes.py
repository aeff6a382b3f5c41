"""The classes of ImageNet are timm's, and a map of folders is written in any usual way."""

from __future__ import annotations

import json

import pytest
from folders import NAMES, classes, jpeg, put, write_all
from refusals import refused

from gradlens import load_data
from gradlens.data import _classes


def test_the_real_lists_are_those_of_timm():
    assert len(_classes.wnids()) == 1000
    assert list(_classes.wnids()) == sorted(_classes.wnids())
    assert len(set(_classes.class_names())) == 1000
    assert [_classes.class_names()[i] for i in (0, 1, 134, 517)] == list(NAMES)
    for letter in "ar":
        assert len(set(_classes.variant(letter))) == 200
        assert max(_classes.variant(letter)) < 1000


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
        ("a.json", "{", ["not JSON", "class map"]),
        ("a.json", "3", ["= 3", "class map"]),
        ("a.json", '{"cat": "x"}', ["cat = 'x'", "whole number"]),
        ("a.json", '{"cat": 1.5}', ["cat = 1.5", "whole number"]),
        ("a.json", '{"cat": true}', ["cat = True", "whole number"]),
        ("a.json", "[" * 100_000, ["nested too deep"]),
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
    alone = load_data(tmp_path / "data", labels=given["labels"])
    assert (alone.labels.tolist(), alone.class_names) == ([1, 0], ("cat", "dog"))
    assert "order of their names: cat, dog" in alone.notes[0]
    half = put(tmp_path / "half.csv", "a.jpg,dog\nb.jpg,0\n")
    with refused("'dog'", "unknown class"):
        load_data(tmp_path / "data", labels=half)
