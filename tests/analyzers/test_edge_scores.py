"""Every edge measure and its null are what a slow definition gives, and the partial one knows no confounder."""

import numpy as np
import pytest
import reference
import torch
from planted import edge_columns, planted

from gradlens.analyzers._edge_concentration import MEASURES, RANK_FORMS
from gradlens.analyzers._edge_confounders import Confounders

each_measure = pytest.mark.parametrize("measure", MEASURES)
each_form = pytest.mark.parametrize("measure", [*MEASURES, *RANK_FORMS])


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


@each_form
def test_noise_is_at_chance(measure, shapes, pilot):
    batch = shapes[slice(0, 64)]
    columns = edge_columns(batch, torch.randn_like(batch.image), pilot)
    for name in {measure, f"{measure}_null"} & set(columns):
        assert columns[name].nanmean().item() == pytest.approx(CHANCE[measure], abs=5e-3)
    if measure in MEASURES:
        assert columns[f"{measure}_z"].nanmean().abs() < 0.4


def test_residuals_know_nothing_of_the_confounders(few):
    confounders = Confounders.of(few.image)
    residual = confounders.residual(torch.randn(32, 64 * 64)).double().numpy()
    for values, image in zip(residual, few.image.double().numpy(), strict=True):
        assert values.std() == pytest.approx(1, abs=1e-5)
        for known in reference.edge_confounders(image):
            assert abs(np.corrcoef(values, known.ravel())[0, 1]) < 1e-4


@pytest.mark.parametrize("size", [1, 7, 33])
def test_partial_is_defined_at_odd_sizes(size):
    image = torch.rand(2, 3, size, size + 2)
    residual = Confounders.of(image).residual(torch.randn(2, size * (size + 2)))
    assert residual.shape == (2, size * (size + 2))
    assert residual.isfinite().all() or size == 1


def test_flat_image_has_no_confounder_to_take_out(few):
    image = torch.full_like(few.image[:1], 0.5)
    values = torch.randn(1, 64 * 64)
    residual = Confounders.of(image).residual(values)
    assert residual.isfinite().all()
    assert torch.corrcoef(torch.stack([residual[0], values[0]]))[0, 1] > 0.99
