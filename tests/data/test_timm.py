"""timm's and torchvision's data: the same images as ours, from what is on the disk; no download or program unasked."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from folders import CIFAR, CIFAR_CLASSES, CIFAR_TEST, CIFAR_TRAIN, classes, jpeg, place_cifar, put
from refusals import refused

from gradlens import load_data


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


@pytest.mark.parametrize("spec", ["wds/set/x-{00..63}.tar|50000", "hfids/org/name", "TFDS/imagenet2012"])
def test_a_stream_is_refused(spec, tmp_path):
    with refused(spec, "as a stream", "class folders", "hfds/"):
        load_data(spec, root=tmp_path)


def batch_of(count=20, shift=0):
    pixels = np.random.default_rng(shift).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, "labels": [(i + shift) % 10 for i in range(count)]}


@pytest.fixture
def cifar(monkeypatch, tmp_path):
    """Its batches: 20 images a file."""
    held = {name: batch_of(shift=k) for k, name in enumerate((*CIFAR_TRAIN, *CIFAR_TEST))}
    place_cifar(monkeypatch, tmp_path / CIFAR, held)
    return held


@pytest.mark.parametrize("below", ["", CIFAR])
def test_cifar_is_read_from_its_folder_or_the_one_above(below, tmp_path, cifar):
    data = load_data("cifar10-test", root=tmp_path / below)
    assert data.labels.tolist() == cifar["test_batch"]["labels"]
    assert (data.class_names, data.name, data.path(3)) == (CIFAR_CLASSES, "cifar10-test", "00003")
    expected = cifar["test_batch"]["data"].reshape(-1, 3, 32, 32) / np.float32(255)
    np.testing.assert_allclose(data.batch(range(20)).image.numpy(), expected, atol=1e-7)
    assert load_data(**data.options).fingerprint == data.fingerprint


def test_cifar_has_a_val_of_its_training_images(tmp_path, cifar):
    data = {split: load_data("cifar10", split, tmp_path) for split in ("train", "val", "test")}
    labels = np.concatenate([cifar[name]["labels"] for name in CIFAR_TRAIN])
    pixels = np.concatenate([cifar[name]["data"] for name in CIFAR_TRAIN]).reshape(-1, 3, 32, 32) / np.float32(255)
    np.testing.assert_array_equal(np.concatenate([data["train"].labels, data["val"].labels]), labels)
    assert (len(data["val"]), data["val"].path(0), data["test"].name) == (10, "00090", "cifar10/test")
    np.testing.assert_allclose(data["train"].batch([25]).image[0], pixels[25], atol=1e-7)
    np.testing.assert_allclose(data["val"].batch([3]).image[0], pixels[93], atol=1e-7)
    assert data["test"].labels.tolist() == cifar["test_batch"]["labels"]
    assert len({each.fingerprint for each in data.values()}) == 3
    assert load_data(**data["val"].options).fingerprint == data["val"].fingerprint
    with refused("split of cifar10", "'vall'", "val"):
        load_data("cifar10", "vall", tmp_path)


class Program:
    """A pickle that makes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_cifar_file_that_is_not_the_published_one_is_never_run(name, tmp_path, cifar):
    file, ran = tmp_path / CIFAR / name, tmp_path / "ran"
    file.write_bytes(pickle.dumps(Program(ran)))
    pickle.loads(file.read_bytes())
    assert ran.exists()
    ran.unlink()
    with refused("cannot open torch/cifar10", "corrupted", ":download=true"):
        load_data("cifar10-test", root=tmp_path)
    assert not ran.exists()


def test_cifar_that_is_not_there_is_refused(tmp_path):
    with refused("cannot open torch/cifar10", str(tmp_path), "not found", ":download=true"):
        load_data("cifar10-test", root=tmp_path)
