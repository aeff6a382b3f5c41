"""Edge measures against slow definitions, their nulls, and gradients planted where they should and should not be."""

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from planted import frame, planted
from scipy.ndimage import distance_transform_cdt, gaussian_filter
from scipy.stats import kstest

from gradlens import Preprocess, load_data
from gradlens.analyzers._edge_blur import BLURS, EdgeBlur
from gradlens.analyzers._edge_concentration import MEASURES, RADIUS, RANK_FORMS, EdgeConcentration
from gradlens.analyzers._edge_scores import Confounders, log_contrast
from gradlens.core.types import Batch
from gradlens.probes.edges import contour_energy
from gradlens.probes.edges.filters import _running_minima, distance_to_edges, luminance

each_measure = pytest.mark.parametrize("measure", MEASURES)
each_form = pytest.mark.parametrize("measure", [*MEASURES, *RANK_FORMS])


@pytest.fixture
def pilot(shapes):
    return shapes[slice(64, 128)]


@pytest.fixture
def few(shapes):
    return shapes[slice(0, 32)]


def assert_same_columns(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5, equal_nan=True)


def edge_columns(batch, gradient, pilot, **parameters):
    """Of the label's logit, whose gradient is the planted one itself."""
    chosen = EdgeConcentration("true_logit", **parameters)
    chosen.fit(planted(pilot, pilot.image))
    return chosen.measure(planted(batch, gradient))


def summarized(chosen, probe):
    tallies = chosen.tallies()
    for name, values in chosen.observe(probe).items():
        tallies[name].update(*values)
    return chosen.summarize(frame(probe, chosen.measure(probe)), tallies)


def slow_measure(measure, gradient, contour, canny, image):
    """One measure of one image; without edges Canny's are not defined."""
    if measure.endswith("canny"):
        return getattr(reference, measure.removesuffix("_canny"))(gradient, canny)
    if "partial" in measure:
        return reference.edge_partial(gradient, contour, image, ranks="rank" in measure)
    names = {"edge_corr_contour": "edge_correlation"}
    return getattr(reference, names.get(measure, measure.removesuffix("_contour")))(gradient, contour)


CHANCE = {**dict.fromkeys((*MEASURES, *RANK_FORMS), 0.0), "edge_auc_canny": 0.5, "edge_cosine_contour": 1.0}
# Ranks come from 4,096 bins.
BINNED = {"edge_auc_canny": 2e-3, "edge_spearman_contour": 1e-3, "edge_partial_rank_contour": 1e-3}
TOLERANCE = {**dict.fromkeys((*MEASURES, *RANK_FORMS), 1e-5), **BINNED}
GRADIENTS = {
    "gaussian": lambda x: torch.randn_like(x),
    "heavy tailed": lambda x: torch.randn_like(x).sign() * (2 * torch.randn_like(x)).exp(),
    "of the image": lambda x: (x - x.mean((2, 3), keepdim=True)) + 0.05 * torch.randn_like(x),
}


@each_form
@pytest.mark.parametrize("make", GRADIENTS.values(), ids=GRADIENTS)
def test_edge_measures_are_the_papers(measure, make, few, pilot):
    batch = few[slice(0, 8)]
    gradient = make(batch.image)
    found = edge_columns(batch, gradient, pilot)[measure]
    probe = planted(batch, gradient)
    maps = probe.edges("contour_energy")[:, 0].numpy(), probe.edges("canny")[:, 0].numpy()
    expected = [
        slow_measure(measure, g, *m)
        for g, *m in zip(gradient.double().numpy(), *maps, batch.image.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[measure])


@pytest.mark.parametrize("levels", [2, 7])
def test_tied_pixels_count_one_half(levels, few, pilot):
    gradient = 2.0 ** -torch.randint(levels, few.image[:, :1].shape).float().expand(-1, 3, -1, -1)
    found = edge_columns(few, gradient, pilot)["edge_auc_canny"]
    canny = planted(few, gradient).edges("canny")[:, 0].numpy()
    expected = [reference.edge_auc(g, m) for g, m in zip(gradient.double().numpy(), canny, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_edges_are_those_of_the_given_blur(sigma, few, pilot):
    gradient = torch.randn_like(few.image).exp()
    columns = edge_columns(few, gradient, pilot, sigma=sigma, min_edge_pixels=1)
    canny = planted(few, gradient).edges("canny", sigma=sigma)[:, 0].numpy()
    expected = [reference.edge_mass(g, m) for g, m in zip(gradient.double().numpy(), canny, strict=True)]
    np.testing.assert_allclose(columns["edge_mass_canny"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(columns["edge_density_canny"], canny.mean((1, 2)), rtol=1e-6)


def test_correlation_does_not_hear_single_zeros(few, pilot):
    gradient = torch.randn_like(few.image)
    with_zeros = gradient.clone()
    with_zeros[:, :, 3, 5] = 0
    columns = edge_columns(few, with_zeros, pilot)["edge_corr_contour"]
    assert (columns - edge_columns(few, gradient, pilot)["edge_corr_contour"]).abs().max() < 0.02


@each_measure
def test_null_is_the_same_measure_on_other_classes_edges(measure, few, pilot):
    batch = few[slice(0, 4)]
    gradient = torch.randn_like(batch.image).exp()
    columns = edge_columns(batch, gradient, pilot)
    others = planted(pilot, pilot.image)
    maps = others.edges("contour_energy")[:, 0].numpy(), others.edges("canny")[:, 0].numpy()
    needed = 50 if measure.endswith("canny") else 0
    image = batch.image.double().numpy()
    for k, g in enumerate(gradient.double().numpy()):
        other = [
            slow_measure(measure, g, contour, canny, image[k])
            for contour, canny, label in zip(*maps, pilot.target, strict=True)
            if label != batch.target[k] and canny.sum() >= needed
        ]
        own, null, z = (columns[f"{measure}{tail}"][k].item() for tail in ("", "_null", "_z"))
        assert null == pytest.approx(np.mean(other), abs=TOLERANCE[measure])
        tolerance = 10 * TOLERANCE[measure] / np.std(other)
        assert z == pytest.approx((own - np.mean(other)) / np.std(other, ddof=1), abs=tolerance)


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


@each_form
def test_noise_is_at_chance(measure, shapes, pilot):
    batch = shapes[slice(0, 64)]
    columns = edge_columns(batch, torch.randn_like(batch.image), pilot)
    for name in {measure, f"{measure}_null"} & set(columns):
        assert columns[name].nanmean().item() == pytest.approx(CHANCE[measure], abs=5e-3)
    if measure in MEASURES:
        assert columns[f"{measure}_z"].nanmean().abs() < 0.4


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


# --- distances


def test_distance_is_scipys_and_the_running_minima_agree(shapes):
    edges = shapes.image[:32, :1] > 0.8
    edges[3] = False
    edges[4] = False
    edges[4, 0, 5, 60] = True
    found = distance_to_edges(edges.float())
    torch.testing.assert_close(found, _running_minima(edges.float()), rtol=0, atol=0)
    assert (found[3] == 128).all()
    row, column = np.mgrid[:64, :64]
    np.testing.assert_array_equal(found[4, 0], abs(row - 5) + abs(column - 60))
    expected = distance_transform_cdt(~edges[0, 0].numpy(), metric="taxicab")
    np.testing.assert_array_equal(found[0, 0], expected)


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


# --- confounders


def test_residuals_know_nothing_of_the_confounders(few):
    confounders = Confounders(few.image)
    residual = confounders.residual(torch.randn(32, 64 * 64)).double().numpy()
    for values, image in zip(residual, few.image.double().numpy(), strict=True):
        assert values.std() == pytest.approx(1, abs=1e-5)
        for known in reference.edge_confounders(image):
            assert abs(np.corrcoef(values, known.ravel())[0, 1]) < 1e-4


@pytest.mark.parametrize("size", [1, 7, 33])
def test_partial_is_defined_at_odd_sizes(size):
    image = torch.rand(2, 3, size, size + 2)
    residual = Confounders(image).residual(torch.randn(2, size * (size + 2)))
    assert residual.shape == (2, size * (size + 2))
    assert residual.isfinite().all() or size == 1


def test_flat_image_has_no_confounder_to_take_out(few):
    image = torch.full_like(few.image[:1], 0.5)
    values = torch.randn(1, 64 * 64)
    residual = Confounders(image).residual(values)
    assert residual.isfinite().all()
    assert torch.corrcoef(torch.stack([residual[0], values[0]]))[0, 1] > 0.99


# --- scales


def test_blur_curve_is_the_correlation_of_blurred_maps(few):
    gradient = torch.randn_like(few.image)
    columns = EdgeBlur("true_logit").measure(planted(few, gradient))
    contour = contour_energy(few.image)[:, 0].double().numpy()
    magnitude = gradient.abs().sum(1).double().numpy()
    for sigma in BLURS:
        for k in range(4):
            maps = (magnitude[k], contour[k])
            blurred = [gaussian_filter(m, sigma, radius=3 * sigma, mode="nearest") if sigma else m for m in maps]
            floored = np.maximum(blurred[0], 1e-4 * blurred[0].mean()), np.maximum(blurred[1], 1e-3)
            expected = np.corrcoef(*(np.log(m).ravel() for m in floored))[0, 1]
            assert columns[f"edge_corr_contour_blur{sigma}"][k] == pytest.approx(expected, abs=1e-5)


def test_blur_takes_away_what_speckle_hides(few):
    on_edges = (contour_energy(few.image) + 1e-3) * torch.randn_like(few.image)
    columns = EdgeBlur("true_logit").measure(planted(few, on_edges))
    assert columns["edge_corr_contour_blur2"].mean() > columns["edge_corr_contour_blur0"].mean() + 0.05
