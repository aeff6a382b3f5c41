"""What is in memory already, as people hold it, is the images and labels that it holds; and what is none is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from folders import classes
from refusals import refused
from torch.utils.data import DataLoader, Subset, TensorDataset, WeightedRandomSampler
from torchvision.transforms import Compose, RandomHorizontalFlip, ToTensor

from gradlens import load_data

X, Y = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
NUMPY = X.numpy()
GIVEN = {
    "a pair": (X, Y),
    "a list of two": [X, Y],
    "a list of pairs": list(zip(X, Y, strict=True)),
    "a dataset": TensorDataset(X, Y),
    "a loader": DataLoader(TensorDataset(X, Y), 2, shuffle=True),
    "items by name": [{"image": x, "label": y} for x, y in zip(X, Y, strict=True)],
    "flipped twice": (np.ascontiguousarray(NUMPY[:, ::-1])[:, ::-1], Y),
    "big-endian": (NUMPY.astype(">f4"), Y.numpy().astype(">i8")),
    "float64": (NUMPY.astype(np.float64), Y.tolist()),
    "with gradients": (X.clone().requires_grad_(), Y),
    "a column of labels": (X, Y[:, None]),
    "labels as floats": (X, Y.double()),
    "labels as words": (X, np.array(["ant", "bee", "cat"])[Y]),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_in_memory_is_what_it_holds(kind):
    data = load_data(GIVEN[kind])
    assert data.labels.tolist() == Y.tolist()
    assert len(data.class_names) == 3
    assert torch.equal(data.batch(range(6)).image, X)


def test_what_rounding_takes_out_of_the_range_is_put_back_and_nothing_else():
    assert float(load_data((X * 0 + 1.0000002, Y))[0][0].max()) == 1
    with refused("wanted [0, 1]"):
        load_data((X * 0 + 1.001, Y))


def test_a_folder_of_torchvision_is_the_folder(tmp_path):
    classes(tmp_path, "ant", "bee", count=2)
    for transform in (None, ToTensor()):
        theirs = torchvision.datasets.ImageFolder(str(tmp_path), transform)
        data, own = load_data(theirs), load_data(tmp_path)
        assert (data.labels.tolist(), data.class_names) == (theirs.targets, ("ant", "bee"))
        assert [data.path(i) for i in range(4)] == [own.path(i) for i in range(4)]
        assert all(torch.equal(a[0], b[0]) for a, b in zip(data, own, strict=True))
    assert load_data(Subset(theirs, [3, 0])).labels.tolist() == [1, 0]


@pytest.mark.parametrize("held", [[0, -1, 2, -100, 1, 2], [0, np.nan, 2, np.nan, 1, 2]])
def test_unknown_labels_are_unknown_one_by_one(held):
    data = load_data((X, np.array(held)))
    assert data.labels.tolist() == [0, -1, 2, -1, 1, 2]
    assert (data.labelled, data.partly_labelled) == (False, True)
    assert data.batch([1, 2]).target.tolist() == [-1, 2]


def test_data_sets_of_other_pixels_are_told_apart():
    prints = {load_data(TensorDataset(x, Y)).fingerprint for x in (X, X.clone(), 1 - X)}
    assert len(prints) == 2


class _Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


REFUSED = {
    "a table": (pd.DataFrame({"path": ["a.png"]}), ["DataFrame", "(images, labels)"]),
    "a dict": ({"image": X, "label": Y}, ["dict", "(images, labels)"]),
    "a stream": (_Stream(), ["stream", "length"]),
    "a loader that chooses": (
        DataLoader(TensorDataset(X, Y), sampler=WeightedRandomSampler([1.0] * 6, 6)),
        ["sampler", "Subset"],
    ),
    "a loader that changes": (DataLoader(TensorDataset(X, Y), collate_fn=list), ["collate_fn"]),
    "items that are none": ([X[0], X[1], X[2]], ["not (image, label)"]),
    "halves of a class": ((X, Y + 0.5), ["0.5", "whole numbers"]),
    "one-hot labels": ((X, np.eye(3)[Y]), ["(6, 3)", ".argmax(1)"]),
    "nothing": ([], ["empty"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_refused(kind):
    spec, words = REFUSED[kind]
    with refused(*words):
        load_data(spec)


def test_a_training_transform_is_found_and_the_random_numbers_stay(tmp_path):
    classes(tmp_path, "ant", "bee")
    flips = torchvision.datasets.ImageFolder(str(tmp_path), Compose([RandomHorizontalFlip(), ToTensor()]))
    torch.manual_seed(3)
    with refused("other ones at each look", "evaluation"):
        load_data(flips)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
