"""Planted edges are found beyond the null, other maps are not, and what has no edges is missing."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import edge_columns, planted, summarized
from scipy.ndimage import distance_transform_cdt
from scipy.stats import kstest

from gradlens import Preprocess, load_data
from gradlens.analyzers._edge_concentration import MEASURES, RADIUS, RANK_FORMS, EdgeConcentration
from gradlens.analyzers._edge_confounders import log_contrast
from gradlens.core.types import Batch
from gradlens.probes.edges import contour_energy
from gradlens.probes.edges.filters import luminance

each_measure = pytest.mark.parametrize("measure", MEASURES)


def assert_same_columns(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5, equal_nan=True)


CHANCE = {**dict.fromkeys((*MEASURES, *RANK_FORMS), 0.0), "edge_auc_canny": 0.5, "edge_cosine_contour": 1.0}


def test_gradient_on_the_edges_is_found(few, pilot):
    probe = planted(few, few.image)
    noise = 1 + 0.1 * torch.rand_like(few.image)
    on_canny = edge_columns(few, (probe.edges("canny") + 1e-3) * noise, pilot)
    seen = ~on_canny["edge_auc_canny"].isnan()
    assert seen.sum() > 25
    assert on_canny["edge_auc_canny"][seen].min() > 0.999
    assert on_canny["edge_auc_canny_z"][seen].min() > 3
    assert on_canny["edge_mass_canny"][seen].min() > 0.9
    on_contour = edge_columns(few, (probe.edges("contour_energy") + 1e-3) * noise, pilot)
    assert on_contour["edge_corr_contour"].min() > 0.95
    assert on_contour["edge_corr_contour_z"].min() > 3


@each_measure
def test_gradient_in_the_middle_fools_raw_measures_but_no_null(measure, shapes, pilot):
    batch = shapes[slice(0, 64)]
    columns = edge_columns(batch, in_the_middle(batch.image), pilot)
    if "partial" in measure:
        assert columns[measure].nanmean().abs() < 0.02
    else:
        assert columns[measure].nanmean() > CHANCE[measure] + 0.01
    assert columns[f"{measure}_z"].nanmean().abs() < 0.4


def in_the_middle(image):
    ruler = torch.linspace(-1, 1, image.shape[-1])
    return torch.exp(-2 * (ruler[:, None] ** 2 + ruler**2)) * (0.5 + torch.rand_like(image))


def test_one_class_leaves_nothing_to_compare_with(few, pilot):
    same = Batch(pilot.image, torch.zeros_like(pilot.target), pilot.index)
    batch = Batch(few.image, torch.zeros_like(few.target), few.index)
    columns = edge_columns(batch, torch.randn_like(few.image), same)
    for measure in MEASURES:
        assert columns[f"{measure}_null"].isnan().all()
        assert columns[f"{measure}_z"].isnan().all()
        assert columns[measure].isfinite().float().mean() > 0.9


def test_an_image_is_not_its_own_null(pilot):
    # Labelled otherwise in the bank, as the same image may be when its label is unknown.
    otherwise = Batch(pilot.image, (pilot.target + 1) % 6, pilot.index)
    gradient = planted(pilot, pilot.image).edges("contour_energy").expand(-1, 3, -1, -1) + 1e-3
    found = edge_columns(pilot[slice(0, 1)], gradient[:1], otherwise)
    assert_same_columns(found, edge_columns(pilot[slice(0, 1)], gradient[:1], otherwise[slice(1, 64)]))


def test_image_without_edges_is_missing_and_counted(few, pilot):
    image = few.image.clone()
    image[3], image[7] = 0.5, 1
    batch = Batch(image, few.target, few.index)
    chosen = EdgeConcentration("true_logit")
    chosen.fit(planted(pilot, pilot.image))
    probe = planted(batch, torch.randn_like(image))
    columns = chosen.measure(probe)
    for measure in MEASURES:
        assert columns[measure][[3, 7]].isnan().all()
        assert columns[f"{measure}_null"].isfinite().all()
    missing = summarized(chosen, probe).scalars["images_without_edges"]
    assert missing == columns["edge_auc_canny"].isnan().sum() >= 2


def test_image_with_few_edges_is_missing(few, pilot):
    gradient = torch.randn_like(few.image)
    edge_pixels = planted(few, gradient).edges("canny").sum((1, 2, 3))
    least = int(edge_pixels.median())
    columns = edge_columns(few, gradient, pilot, min_edge_pixels=least)
    assert torch.equal(columns["edge_auc_canny"].isnan(), edge_pixels < least)
    assert columns["edge_corr_contour"].isfinite().all()


def test_blank_images_in_the_bank_do_not_count(few, pilot):
    image = pilot.image.clone()
    image[5] = 1
    without = Batch(pilot.image[6:], pilot.target[6:], pilot.index[6:])
    gradient = torch.rand_like(few.image)
    columns = edge_columns(few, gradient, Batch(image[5:], pilot.target[5:], pilot.index[5:]))
    assert_same_columns(columns, edge_columns(few, gradient, without))


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_gradient_that_says_nothing_has_no_edges(value, few, pilot):
    gradient = torch.randn_like(few.image)
    sound = edge_columns(few, gradient, pilot)
    gradient[4] = value
    columns = edge_columns(few, gradient, pilot)
    rest = torch.arange(32) != 4
    for measure in MEASURES:
        for name in (measure, f"{measure}_null", f"{measure}_z"):
            assert columns[name][4].isnan()
            torch.testing.assert_close(columns[name][rest], sound[name][rest], equal_nan=True, rtol=1e-4, atol=1e-4)


def test_bank_grows_with_every_piece_of_the_pilot(few, pilot):
    gradient = torch.rand_like(few.image)
    chosen = EdgeConcentration("true_logit")
    for rows in (slice(0, 40), slice(40, 64)):
        chosen.fit(planted(pilot[rows], pilot[rows].image))
    assert_same_columns(chosen.measure(planted(few, gradient)), edge_columns(few, gradient, pilot))


# --- planted truth


@pytest.fixture(scope="module")
def photographs():
    """48 crops of natural photographs at 112², and a bank of as many others."""
    data = load_data("photos").bind(Preprocess(112, 1.0))
    return data.batch(data.limit(48).indices), data.batch(data.limit(112).indices[-64:])


def planted_truths(image):
    """Maps that a gradient could follow; only the first is the edges."""
    contrast = log_contrast(luminance(image)).exp()
    return {
        "edge": contour_energy(image),
        "texture": contrast,
        "centre": in_the_middle(image[:, :1]),
        "brightness": luminance(image),
        "noise": torch.ones_like(image[:, :1]),
    }


def test_planted_edges_are_first_and_the_rest_is_near_zero(photographs):
    batch, bank = photographs
    found = {}
    for name, truth in planted_truths(batch.image).items():
        gradient = (truth + 1e-3) * torch.randn_like(batch.image)
        columns = edge_columns(batch, gradient, bank)
        found[name] = {m: columns[m].nanmean().item() for m in ("edge_corr_contour", "edge_partial_contour")}
    partial = {name: values["edge_partial_contour"] for name, values in found.items()}
    assert partial.pop("edge") > 0.5
    assert max(map(abs, partial.values())) < 0.05
    # What makes the partial correlation necessary.
    assert found["texture"]["edge_corr_contour"] > 0.2


@pytest.mark.parametrize("measure", [m for m in MEASURES if "signed" not in m])
def test_planted_edges_beat_every_other_map_beyond_the_null(measure, photographs):
    batch, bank = photographs
    excess = {}
    for name, truth in planted_truths(batch.image).items():
        columns = edge_columns(batch, (truth + 1e-3) * torch.randn_like(batch.image), bank)
        excess[name] = (columns[measure] - columns[f"{measure}_null"]).nanmean().item()
    assert max(excess, key=excess.get) == "edge"


def spectrum_matched_noise(image):
    """Noise with the amplitude spectrum of each image's edges, and phases that know nothing of it."""
    spectrum = torch.fft.rfft2(contour_energy(image)).abs()
    phase = torch.fft.rfft2(torch.randn_like(image))
    return torch.fft.irfft2(spectrum * phase / phase.abs(), s=image.shape[2:])


@each_measure
def test_chance_is_uniform_for_noise_of_the_same_spectrum(measure, noisy):
    # Discrete steps of 1 / (M + 1) are spread over their width.
    chance = noisy[f"{measure}_p"].dropna().to_numpy()
    others = 1 / (1 + noisy.attrs["maps"])
    spread = chance - np.random.default_rng(0).random(len(chance)) * others
    assert kstest(spread, "uniform").pvalue > 0.01


@pytest.fixture(scope="module")
def noisy():
    data = load_data("shapes")
    torch.manual_seed(0)
    chosen = EdgeConcentration("true_logit")
    bank = data.batch(data.limit(64).indices)
    chosen.fit(planted(bank, bank.image))
    rest = np.setdiff1d(data.indices, bank.index.numpy())[:1000]
    rows = []
    for part in np.array_split(rest, 10):
        batch = data.batch(part)
        rows.append(pd.DataFrame(chosen.measure(planted(batch, spectrum_matched_noise(batch.image)))))
    found = pd.concat(rows, ignore_index=True)
    found.attrs["maps"] = 64 * 5 / 6
    return found


# --- the profile over distances


def test_profile_is_the_share_within_each_distance(few, pilot):
    gradient = torch.randn_like(few.image)
    chosen = EdgeConcentration("true_logit")
    chosen.fit(planted(pilot, pilot.image))
    probe = planted(few, gradient)
    arrays = summarized(chosen, probe).arrays
    canny = probe.edges("canny")[:, 0].numpy() > 0
    expected = {"profile/gradient": [], "profile/area": []}
    for image, edges in zip(np.abs(gradient.numpy()).sum(1), canny, strict=True):
        if edges.sum() < 50:
            continue
        distance = distance_transform_cdt(~edges, metric="taxicab")
        within = [distance <= d for d in range(RADIUS)]
        expected["profile/gradient"].append([image[w].sum() / image.sum() for w in within])
        expected["profile/area"].append([w.mean() for w in within])
    for name, rows in expected.items():
        np.testing.assert_allclose(arrays[name], np.mean(rows, 0), rtol=0, atol=1e-6)
