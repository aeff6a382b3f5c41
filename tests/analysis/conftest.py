"""Digits as pictures in class folders."""

import pytest

from gradlens import load_data


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
