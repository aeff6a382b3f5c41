"""Dimensions are those of principal components, exact in any order of images, and of what a change adds."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import tallied
from refusals import refused
from sklearn.decomposition import PCA
from torch import nn

import gradlens as gl
from gradlens.analyzers._dimensionality import Dimensionality
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.dimensionality import dimensions
from gradlens.stats.tallies import Covariance

# --- spectra


@pytest.mark.parametrize(
    ("spectrum", "components", "ratio"),
    [
        ([5, 0, 0], [1, 1, 1], 1),
        ([1] * 10, [9, 10, 10], 10),
        ([0.9, 0.05, 0.05], [1, 2, 3], 1 / (0.81 + 2 * 0.0025)),
        ([3, -1e-9, 0], [1, 1, 1], 1),
    ],
)
def test_components_and_ratio_of_a_known_spectrum(spectrum, components, ratio):
    found = dimensions(spectrum)
    assert found.components.tolist() == components
    assert found.participation_ratio == pytest.approx(ratio)


def test_points_that_do_not_vary_have_no_dimension():
    found = dimensions(np.zeros(4))
    assert np.isnan(found.components).all()
    assert np.isnan(found.participation_ratio)


# --- covariance


def test_a_covariance_is_numpys_and_the_same_bits_in_any_order_and_merged(rng):
    values = rng.normal(size=(700, 5)) * [1, 10, 0.1, 1, 1] + 3
    scale = np.abs(values[:64]).max(0)
    whole, shuffled, first, second = (Covariance(scale) for _ in range(4))
    whole.update(values)
    shuffled.update(rng.permutation(values))
    first.update(values[:100])
    second.update(values[100:])
    second.merge(first)
    for other in (shuffled, second):
        for name, array in whole.state().items():
            np.testing.assert_array_equal(other.state()[name], array)
    wanted = np.cov(values.T)
    np.testing.assert_allclose(whole.covariance, wanted, atol=1e-4 * np.abs(np.outer(scale, scale)).max() / 100)
    assert (whole.count, whole.beyond) == (700, 0)


def test_what_is_not_finite_or_far_beyond_the_scale_is_left_out_and_counted():
    tally = Covariance(np.ones(2))
    tally.update(np.array([[1.0, 2], [np.nan, 1], [1e3, 1], [0.5, 1]]))
    assert (tally.count, tally.beyond) == (2, 2)
    np.testing.assert_allclose(tally.covariance, np.cov(np.array([[1, 2], [0.5, 1]]).T))


# --- the analyzer


def of(model, batch, **parameters):
    chosen = Dimensionality(**parameters)
    chosen.fit(Probe(model, batch[slice(0, 32)], needs=("units",)))
    halves = (Probe(model, batch[rows], needs=("units",)) for rows in (slice(0, 40), slice(40, 64)))
    return chosen.summarize(pd.DataFrame(), tallied(chosen, *halves))


def units_of(model, image, batch):
    units = Probe(model, Batch(image, batch.target, batch.index), needs=("units",)).units()
    return {layer: values.detach().double().numpy() for layer, values in units.items()}


def fraction(values):
    """By scikit-learn: as few components as explain 95 %, over as many as there can be."""
    shares = np.cumsum(PCA().fit(values).explained_variance_ratio_)
    return (1 + (shares < 0.95).sum()) / min(values.shape[1], len(values) - 1)


def test_layers_are_measured_as_scikit_learn_does(cnn, digits):
    scalars, arrays, missing = of(cnn, digits)
    fractions = []
    for layer, values in units_of(cnn, digits.image, digits).items():
        pca = PCA().fit(values)
        spectrum = pca.explained_variance_
        np.testing.assert_allclose(arrays[f"{layer}:spectrum"], spectrum, rtol=1e-3, atol=1e-4 * spectrum[0])
        ratio = spectrum.sum() ** 2 / (spectrum**2).sum()
        assert arrays[f"{layer}:participation_ratio"] == pytest.approx(ratio, rel=1e-3)
        fractions.append(fraction(values))
    assert scalars["dimensionality_mean"] == pytest.approx(np.mean(fractions))
    assert scalars["dimensionality_images"] == 64
    assert scalars["dimensionality_images_left_out"] == 0
    assert missing == {}


@pytest.mark.parametrize("change", ["gaussian_noise:5", "pgd:eps=8/255"])
def test_a_change_is_measured_by_its_differences(change, cnn, digits):
    scalars, arrays, _ = of(cnn, digits, change=change)
    probe = Probe(cnn, digits, needs=("units",))
    if change.startswith("pgd"):
        changed = gl.attack(probe, "pgd", eps=8 / 255).batch.image
    else:
        changed = gl.corrupt(digits.image, "gaussian_noise", 5, index=digits.index.tolist())
    clean, after = units_of(cnn, digits.image, digits), units_of(cnn, changed, digits)
    apart = [fraction(after[layer] - clean[layer]) for layer in clean]
    gain = [fraction(after[layer]) - fraction(clean[layer]) for layer in clean]
    assert scalars["dimensionality_change_mean"] == pytest.approx(np.mean(apart), abs=0.02)
    assert scalars["dimensionality_gain_mean"] == pytest.approx(np.mean(gain), abs=0.02)
    assert {f"{layer}:change:spectrum" for layer in clean} <= set(arrays)


def test_rounding_is_no_dimension(cnn, digits):
    scalars, _, missing = of(cnn, digits, change="pgd:eps=1e-9")
    assert np.isnan(scalars["dimensionality_change_mean"])
    assert missing["dimensionality_change_mean"] == "no unit varies over the images"
    assert scalars["dimensionality_gain_mean"] == 0


def test_planted_directions_are_found():
    net = nn.Sequential(nn.Conv2d(3, 12, 1, bias=False), nn.Identity(), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        # Twelve units of two directions.
        net[0].weight[:] = (torch.rand(12, 2) @ torch.rand(2, 3))[..., None, None]
    model = gl.load_model(net, normalized=True, device="cpu")
    batch = Batch(torch.rand(64, 3, 1, 1), torch.zeros(64, dtype=torch.long), torch.arange(64))
    _, arrays, _ = of(model, batch)
    assert arrays["2:components"].max() <= 2
    assert arrays["2:spectrum"][2] < 1e-6 * arrays["2:spectrum"][0]


def test_a_model_without_units_and_a_single_image_are_missing_with_the_reason(cnn, digits):
    model = gl.load_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)), normalized=True, device="cpu")
    assert of(model, digits).missing["dimensionality_mean"] == "the model has no activation layer"
    chosen = Dimensionality()
    one = Probe(cnn, digits[slice(0, 1)], needs=("units",))
    chosen.fit(one)
    assert set(chosen.summarize(pd.DataFrame(), tallied(chosen, one)).missing.values()) == {"fewer than two images"}


@pytest.mark.parametrize(("change", "said"), [("fog:9", "has no severity"), ("nothing", "is no corruption or attack")])
def test_what_is_no_change_is_one_line(change, said):
    with refused(said):
        Dimensionality(change=change)
