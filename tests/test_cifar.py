"""CIFAR-10 from its folder or archive, without running what a pickle says."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from folders import put, tar_of
from refusals import refused

from gradlens import load_data
from gradlens.data import _tar
from gradlens.data._cifar import CLASSES, FOLDER, TEST, TRAIN

(BATCH,) = TEST


def batch_of(count=20, **changed):
    rng = np.random.default_rng(0)
    held = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(count)]}
    return {**held, "batch_label": "testing batch 1 of 1", **changed}


def place_cifar(root, kind, content):
    if kind == "archive":
        tar_of(root / "cifar-10-python.tar.gz", {f"{FOLDER}/data_batch_1": b"x", f"{FOLDER}/{BATCH}": content}, "w:gz")
    else:
        put(root / ("" if kind == "inside" else FOLDER) / BATCH, content)
    return root


@pytest.mark.parametrize("kind", ["folder", "inside", "archive"])
def test_cifar_is_read_from_its_folder_and_its_archive(kind, tmp_path):
    held = batch_of()
    data = load_data("cifar10-test", root=place_cifar(tmp_path, kind, pickle.dumps(held, protocol=2)))
    assert data.labels.tolist() == held["labels"]
    assert (data.class_names, data.name, data.path(3)) == (CLASSES, "cifar10-test", "00003")
    expected = held["data"].reshape(-1, 3, 32, 32) / np.float32(255)
    np.testing.assert_allclose(data.batch(range(20)).image.numpy(), expected, atol=1e-7)
    assert load_data(**data.options).fingerprint == data.fingerprint


def place_whole_cifar(root):
    """Five files of 20 training images each, and the test images, in the archive."""
    held = {name: batch_of(labels=[(i + k) % 10 for i in range(20)]) for k, name in enumerate((*TRAIN, *TEST))}
    for k, content in enumerate(held.values()):
        content["data"] = (content["data"] // 2 + 20 * k).astype(np.uint8)
    files = {f"{FOLDER}/{name}": pickle.dumps(content, protocol=2) for name, content in held.items()}
    tar_of(root / "cifar-10-python.tar.gz", files, "w:gz")
    return held


def test_cifar_has_a_val_of_its_training_images(tmp_path):
    held = place_whole_cifar(tmp_path)
    data = {split: load_data("cifar10", split, tmp_path) for split in ("train", "val", "test")}
    labels = np.concatenate([held[name]["labels"] for name in TRAIN])
    pixels = np.concatenate([held[name]["data"] for name in TRAIN]).reshape(-1, 3, 32, 32) / np.float32(255)
    np.testing.assert_array_equal(np.concatenate([data["train"].labels, data["val"].labels]), labels)
    assert (len(data["val"]), data["val"].path(0), data["test"].name) == (10, "00090", "cifar10/test")
    np.testing.assert_allclose(data["train"].batch([25]).image[0], pixels[25], atol=1e-7)
    np.testing.assert_allclose(data["val"].batch([3]).image[0], pixels[93], atol=1e-7)
    assert data["test"].labels.tolist() == held["test_batch"]["labels"]
    assert len({each.fingerprint for each in data.values()}) == 3
    assert load_data(**data["val"].options).fingerprint == data["val"].fingerprint
    with refused("split of cifar10", "'vall'", "val"):
        load_data("cifar10", "vall", tmp_path)


class Evil:
    def __reduce__(self):
        return os.system, ("echo pwned",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(Evil()), ["posix.system", "does not need"]),
        (pickle.dumps({"data": Evil()}), ["posix.system"]),
        (pickle.dumps(batch_of())[:500], ["cannot read", "copy it again"]),
        (b"", ["cannot read"]),
        (pickle.dumps([1, 2]), ["cannot read"]),
        (pickle.dumps(batch_of(labels=[0, 1])), ["(20, 3072)", "wanted 8-bit"]),
        (pickle.dumps(batch_of(data=np.zeros((20, 30), np.uint8))), ["(20, 30)"]),
        (pickle.dumps(batch_of(labels=[10] * 20)), ["10 to 10", "0 to 9"]),
    ],
    ids=["program", "program inside", "truncated", "empty", "list", "labels", "shape", "classes"],
)
def test_a_cifar_file_that_is_none_is_refused(content, words, tmp_path):
    with refused(*words):
        load_data("cifar10-test", root=place_cifar(tmp_path, "folder", content))


def test_cifar_that_is_not_there_or_inflates_without_end_is_refused(tmp_path, monkeypatch):
    with refused("no CIFAR-10", FOLDER, "--data-dir"):
        load_data("cifar10-test", root=tmp_path)
    archive = tmp_path / "cifar-10-python.tar.gz"
    tar_of(archive, {"other": b"x" * 5000}, "w:gz")
    with refused("cifar-10-python.tar.gz", f"no {FOLDER}/{BATCH}"):
        load_data("cifar10-test", root=tmp_path)
    monkeypatch.setattr(_tar, "INFLATED", 4000)
    with refused("more than 4,000 bytes"):
        load_data("cifar10-test", root=tmp_path)
    put(archive, b"not gzip")
    with refused("cannot read", "cifar-10-python.tar.gz"):
        load_data("cifar10-test", root=tmp_path)
