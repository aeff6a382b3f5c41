"""Digits as pictures in class folders, and a checkpoint that states its normalisation."""

import pytest
import torch

from gradlens import Preprocess, load_data
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    """Sixty digits as PNG files in class folders."""
    root = tmp_path_factory.mktemp("digits")
    data = load_data("digits", limit=60)
    for position, index in enumerate(data.indices):
        place = root / str(data.labels[position])
        place.mkdir(exist_ok=True)
        data.source.open(index).save(place / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a checkpoint of mean (0.5, 0.4, 0.3) and std (0.2, 0.25, 0.3)."""
    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    described = {"arch_kwargs": {"width": 1}, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    state = digits_cnn(width=1).state_dict()
    save_checkpoint(folder / "good.pt", state, arch="digits_cnn", preprocess=Preprocess(32, 1.0), **described)
    return folder
