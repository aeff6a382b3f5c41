"""The embedded sets are the same everywhere, have disjoint splits, and hold what their classes say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradlens import Preprocess, load_data
from gradlens.data import _embedded
from gradlens.data._embedded import BANDS, PHOTOGRAPHS, SIDE, crop, photograph

SPLITS = ("train", "val", "test")

SIZES = {"digits": (1000, 297, 500), "shapes": (2400, 600, 600), "photos": (1600, 400, 400)}


@pytest.mark.parametrize("name", SIZES)
def test_embedded_splits_have_their_sizes_and_every_class(name):
    sets = [load_data(name, split=split) for split in SPLITS]
    assert tuple(len(d) for d in sets) == SIZES[name]
    for data in sets:
        assert sorted(set(data.labels.tolist())) == list(range(len(data.class_names)))
        assert len({data.path(i) for i in data.indices}) == len(data)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("split", SPLITS)
def test_embedded_images_are_deterministic_colour_pixels_in_range(name, split):
    one, two = (load_data(name, split=split).batch([0, 7, 100]) for _ in range(2))
    assert torch.equal(one.image, two.image)
    side = 32 if name == "digits" else 64
    assert one.image.shape == (3, 3, side, side)
    assert one.image.dtype == torch.float32
    assert float(one.image.min()) >= 0
    assert 0.3 < float(one.image.max()) <= 1
    assert not torch.equal(one.image[0], one.image[1])


def test_no_digit_is_in_two_splits():
    rows = [{path.split("/")[1] for path in load_data("digits", split=s).source.paths} for s in SPLITS]
    assert [len(r) for r in rows] == list(SIZES["digits"])
    assert len(set.union(*rows)) == 1797


def test_a_digit_is_the_one_that_scikit_learn_holds():
    from sklearn.datasets import load_digits

    data = load_data("digits")
    bunch = load_digits()
    for index in range(5):
        row = int(data.path(index).split("/")[1])
        assert data.labels[index] == bunch.target[row]
        blocks = data[index][0][0].reshape(8, 4, 8, 4).mean((1, 3)).numpy().ravel()
        assert np.abs(16 * blocks - bunch.data).mean(1).argmin() == row


def test_photographs_are_cut_into_bands_without_a_common_column():
    edges = sorted(BANDS[s] for s in SPLITS)
    assert edges == [(0.0, 0.6), (0.6, 0.8), (0.8, 1.0)]
    for name in PHOTOGRAPHS:
        assert photograph(name).shape[1] * 0.2 >= SIDE


@pytest.mark.parametrize("split", SPLITS)
def test_crops_stay_inside_the_columns_of_their_split(split, monkeypatch):
    width = 400
    columns = np.broadcast_to(np.arange(width)[None, :, None], (70, width, 3))
    monkeypatch.setattr(_embedded, "photograph", lambda name: columns)
    seen = np.concatenate([crop("cat", split, np.random.default_rng(i))[0, :, 0] for i in range(200)])
    low, high = (edge * width for edge in BANDS[split])
    assert low <= seen.min() < low + 5
    assert high - 5 <= seen.max() + 1 <= high


def test_the_contour_of_a_shape_surrounds_a_filled_region_of_the_image():
    from scipy.ndimage import binary_fill_holes

    source = load_data("shapes").source
    for index in range(6):
        contour = source.contour(index)
        assert 30 < contour.sum() < binary_fill_holes(contour).sum() < SIDE * SIDE / 2


# --- the true outline


def test_a_batch_of_shapes_carries_the_outlines():
    data = load_data("shapes")
    batch = data.batch(range(8))
    expected = [data.source.contour(index) for index in range(8)]
    assert batch.outline.shape == (8, 1, 64, 64)
    np.testing.assert_array_equal(batch.outline[:, 0].numpy(), expected)
    for part in (batch[slice(2, 5)], batch.to("cpu")[slice(2, 5)]):
        assert torch.equal(part.outline, batch.outline[2:5])
    assert load_data("photos").batch([0]).outline is None


def test_outlines_are_scaled_and_cut_as_the_images_are():
    # Three times the size from the middle two thirds: where the outline is, coarser pixels were it or touch it.
    plain, scaled = (load_data("shapes").bind(p).batch(range(8)) for p in (None, Preprocess(128, 2 / 3)))
    assert scaled.outline.shape == (8, 1, 128, 128)
    enlarged = torch.nn.functional.interpolate(plain.outline, scale_factor=3)
    middle = torch.nn.functional.max_pool2d(enlarged[..., 32:160, 32:160], 7, 1, 3)
    found = scaled.outline.bool()
    assert found.flatten(1).any(1).sum() >= 6
    assert (middle[found] > 0).float().mean() > 0.99
    assert not found[..., 0, :].all()
