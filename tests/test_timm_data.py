"""timm's data specs: the same images as ours, from what is on the disk, and no download unasked."""

from __future__ import annotations

import os
import sys
import types

import pytest
from folders import classes, jpeg, put, tar_of
from refusals import refused

from gradlens import load_data


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("GRADLENS_DATA", "IMAGENET_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_torchvisions_folder_is_ours(tmp_path):
    classes(tmp_path / "val", "cat", "dog", count=2)
    theirs, ours = load_data("torch/image_folder", root=tmp_path), load_data(tmp_path)
    assert theirs.labels.tolist() == ours.labels.tolist()
    assert theirs.class_names == ours.class_names
    assert all(x[0].equal(y[0]) for x, y in zip(theirs, ours, strict=True))
    assert load_data(**theirs.options).fingerprint == theirs.fingerprint
    put(tmp_path / "val/cat/0.jpg", b"no picture")
    assert list(theirs.read([0, 1])[1]) == [0]


def test_what_timm_cannot_open_is_one_line(tmp_path):
    with refused("torch/cifar10", "not found or corrupted", ":download=true"):
        load_data("torch/cifar10", root=tmp_path, split="test")
    with refused("torch/cifar10", "--data-dir"):
        load_data("torch/cifar10")
    with refused("torch/none", "Unknown torchvision dataset none"):
        load_data("torch/none", root=tmp_path)
    with refused("not known", "download=true"):
        load_data("torch/cifar10:other=1", root=tmp_path)
    with refused("tfds/x", "stream", "hfds/"):
        load_data("tfds/x", root=tmp_path)


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    with refused("hfds/org/name", "'datasets'", "install"):
        load_data("hfds/org/name", root=tmp_path)


class HubData:
    """As much of Hugging Face's datasets as timm's reader uses."""

    def __init__(self, items, names):
        self.items = items
        label = types.SimpleNamespace(_str2int={n: i for i, n in enumerate(names)}, names=names)
        self.info = types.SimpleNamespace(features={"label": label}, splits=None)

    def cast_column(self, *_):
        return self

    def remove_columns(self, _):
        return [{"label": item["label"]} for item in self.items]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_the_hub_is_read_from_its_cache_and_never_asked(monkeypatch):
    asked = []

    def load_dataset(name, split, **_):
        from huggingface_hub import constants

        asked.append((name, split, constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")))
        items = [{"image": {"bytes": jpeg(i)}, "label": i % 2} for i in range(4)]
        return HubData(items, ["cat", "dog"])

    hub = types.SimpleNamespace(load_dataset=load_dataset, Image=lambda decode: None, ClassLabel=object)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    data = load_data("hfds/org/name")
    assert asked == [("org/name", "validation", True, "1")]
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert data.class_names == ("cat", "dog")
    assert data[2][0].shape == (3, 10, 12)
    load_data("hfds/org/name:download=true")
    assert asked[1][2] is False
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)


def shard(root, name, numbers, extra=None):
    files = {}
    for i in numbers:
        files |= {f"{i:04d}.jpg": jpeg(i), f"{i:04d}.cls": str(i % 3).encode()}
    return tar_of(root / name, {**files, **(extra or {})})


@pytest.mark.parametrize(
    "spec",
    [
        "wds/set",
        "wds/set/x-validation-{00..01}.tar",
        "wds/set/x-validation-{00..01}.tar|5",
    ],
)
def test_shards_are_read_in_place(spec, tmp_path):
    shard(tmp_path / "set", "x-validation-00.tar", range(3))
    shard(tmp_path / "set", "x-validation-01.tar", range(3, 5))
    shard(tmp_path / "set", "x-train-00.tar", range(7, 9))
    data = load_data(spec, root=tmp_path)
    assert data.labels.tolist() == [0, 1, 2, 0, 1]
    assert [data.path(i) for i in (0, 4)] == ["x-validation-00/0000.jpg", "x-validation-01/0004.jpg"]
    assert load_data(**data.options).fingerprint == data.fingerprint


def test_shards_that_cannot_be_read_are_refused(tmp_path):
    shard(tmp_path, "x-00.tar", range(3))
    shard(tmp_path, "y-00.tar", range(3), {"9.jpg": jpeg(9)})
    with refused("no shard", "x-01.tar"):
        load_data("wds/x-{00..01}.tar", root=tmp_path)
    with refused("3 pictures", "wanted 4"):
        load_data("wds/x-00.tar|4", root=tmp_path)
    with refused("9.jpg", "9.cls"):
        load_data("wds/y-00.tar", root=tmp_path)
    with refused("over the network", "--data-dir"):
        load_data("wds/https://host/x-{00..01}.tar", root=tmp_path)
    with refused("braces", "{00..63}"):
        load_data("wds/x-{00,01}.tar", root=tmp_path)
