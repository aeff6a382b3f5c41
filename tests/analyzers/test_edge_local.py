"""Located measures are their slow definitions, 1 for the edges themselves, near 0 for what is only near edges."""

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from planted import edge_columns, planted, summarized
from sklearn.metrics import roc_auc_score

from gradlens import load_data
from gradlens.analyzers._edge_concentration import LOCATED, OUTLINE, EdgeConcentration
from gradlens.analyzers._edge_confounders import confounder_maps, log_contrasts
from gradlens.analyzers._edge_local import LEAST_ROOM, moved, shift_of
from gradlens.core.types import Batch
from gradlens.probes.edges import contour_energy
from gradlens.probes.edges.filters import luminance

PARTIAL, RANKS, AUC = LOCATED
SHIFT = 4


def windows(array, shift):
    """The nine windows of ``(H, W)`` that a map moved by −shift, 0 or shift shows; the fifth is the map as it is."""
    height, width = (side - 2 * shift for side in array.shape)
    return [array[y : y + height, x : x + width] for y in (0, shift, 2 * shift) for x in (0, shift, 2 * shift)]


def beyond_moved(values):
    return values[4] - np.mean(values[:4] + values[5:])


def slow_partial(followed, edges, maps, shift=SHIFT):
    """Residuals of every moved map by least squares on the confounders of the interior, and their correlations."""
    inner = [windows(m, shift)[4] for m in maps]
    height, width = inner[0].shape
    row, column = np.mgrid[:height, :width]
    radius = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
    border = np.minimum.reduce([row, height - 1 - row, column, width - 1 - column])
    design = np.stack([c.ravel() for c in (np.ones_like(radius), radius, border, *inner)], 1)

    def residual(values):
        return values.ravel() - design @ np.linalg.lstsq(design, values.ravel())[0]

    left = [residual(w) for w in windows(edges, shift)]
    gradient, itself = (
        beyond_moved([np.corrcoef(residual(windows(v, shift)[4]), other)[0, 1] for other in left])
        for v in (followed, edges)
    )
    return gradient / itself if itself >= LEAST_ROOM else np.nan


def slow_auc(magnitude, edges, shift=SHIFT):
    gradient, itself = (
        beyond_moved([roc_auc_score(w.ravel() > 0, windows(v, shift)[4].ravel()) for w in windows(edges, shift)])
        for v in (magnitude, edges)
    )
    return gradient / itself


def ranks(values):
    return np.reshape(reference.rankdata(values), values.shape)


def slow_measures(gradient, contour, canny, maps, canny_shift=SHIFT):
    magnitude = np.abs(gradient).sum(0)
    log = np.log(np.maximum(magnitude, 1e-4 * magnitude.mean()))
    return {
        PARTIAL: slow_partial(log, np.log(np.maximum(contour, 1e-3)), maps),
        RANKS: slow_partial(ranks(magnitude), ranks(contour), maps),
        AUC: slow_auc(magnitude, canny, canny_shift) if windows(canny, canny_shift)[4].sum() >= 50 else np.nan,
    }


GRADIENTS = {
    "gaussian": lambda x: torch.randn_like(x),
    "heavy tailed": lambda x: torch.randn_like(x).sign() * (2 * torch.randn_like(x)).exp(),
    "on edges": lambda x: (contour_energy(x) + 0.02) * torch.randn_like(x),
}


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("make", GRADIENTS.values(), ids=GRADIENTS)
def test_located_measures_are_their_slow_definitions(make, sigma, few, pilot):
    batch = few[slice(0, 6)]
    gradient = make(batch.image)
    found = edge_columns(batch, gradient, pilot, sigma=sigma)
    probe = planted(batch, gradient)
    edges = probe.edges("contour_energy")[:, 0], probe.edges("canny", sigma=sigma)[:, 0]
    seen = (gradient, *edges, confounder_maps(batch.image))
    for k, given in enumerate(zip(*(values.double().numpy() for values in seen), strict=True)):
        for name, expected in slow_measures(*given, canny_shift=round(4 * sigma)).items():
            # Ranks come from 4,096 bins of 0.45 %; sums of float32 are good to 1e-5 of a correlation.
            tolerance = {PARTIAL: 2e-4}.get(name, 5e-3)
            assert found[name][k].item() == pytest.approx(expected, abs=tolerance, nan_ok=True), name


def test_moved_maps_show_all_nine_windows():
    maps = torch.arange(2.0 * 20 * 24).view(2, 1, 20, 24)
    found = moved(maps, 3).numpy()
    for k, array in enumerate(maps[:, 0].numpy()):
        np.testing.assert_array_equal(found[k], [w.ravel() for w in windows(array, 3)])


def test_the_edges_themselves_score_one(few, pilot):
    # At contour energy's own floor, which is above the gradient's.
    contour = contour_energy(few.image).clamp(min=1e-3).expand(-1, 3, -1, -1).contiguous()
    assert edge_columns(few, contour, pilot)[PARTIAL].min() > 0.999
    canny = planted(few, few.image).edges("canny").expand(-1, 3, -1, -1).contiguous()
    auc = edge_columns(few, canny, pilot)[AUC]
    assert auc.isfinite().sum() > 20
    torch.testing.assert_close(auc[auc.isfinite()], torch.ones_like(auc[auc.isfinite()]), rtol=0, atol=1e-5)


def test_noise_scores_zero(shapes, pilot):
    batch = shapes[slice(0, 64)]
    found = edge_columns(batch, torch.randn_like(batch.image), pilot)
    for name in LOCATED:
        values = found[name][found[name].isfinite()]
        # Within three standard errors of 0.
        assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5


# --- planted truth, at a reduced size; the whole table is an analysis


def near_edges(image):
    """Maps that lie near edges without being them."""
    contour, (wide, narrow) = contour_energy(image), log_contrasts(luminance(image), (8.0, 4.0))
    return {
        "contrast, 8 px": (wide.exp(), 0.06),
        "contrast, 4 px": (narrow.exp(), 0.06),
        "blocks of 16": (F.interpolate(F.avg_pool2d(contour, 16), scale_factor=16), 0.1),
        "displaced by 3 px": (contour.roll((3, 3), (2, 3)), 0.1),
        "brightness": (luminance(image), 0.05),
        "white noise": (torch.ones_like(contour), 0.03),
    }


@pytest.fixture(scope="module")
def photographs():
    data = load_data("photos")
    return data.batch(data.limit(64).indices), data.batch(data.limit(128).indices[-64:])


def response(truth, batch, bank):
    truth = truth / truth.mean((2, 3), keepdim=True)
    return edge_columns(batch, (truth + 0.02) * torch.randn_like(batch.image), bank)


def test_planted_contours_are_found_and_what_is_near_them_is_not(photographs):
    batch, bank = photographs
    assert response(contour_energy(batch.image), batch, bank)[PARTIAL].nanmean() > 0.4
    for name, (truth, most) in near_edges(batch.image).items():
        assert response(truth, batch, bank)[PARTIAL].nanmean() <= most, name


def test_what_is_near_edges_fools_the_measure_that_is_not_located(photographs):
    batch, bank = photographs
    found = response(near_edges(batch.image)["contrast, 4 px"][0], batch, bank)
    assert found["edge_partial_contour"].nanmean() > 0.15


# --- the true outline


def test_a_gradient_on_the_true_outline_is_told_from_one_on_texture(few, pilot):
    noise = 0.5 + torch.rand_like(few.image)
    on_outline = edge_columns(few, (few.outline + 0.02) * noise, pilot)
    on_texture = edge_columns(few, (contour_energy(few.image) * (1 - few.outline) + 1e-3) * noise, pilot)
    assert on_outline["edge_outline_auc"].min() > 0.99
    # What wins off the outline is noise, which moves single images' by a few hundredths.
    assert on_outline["edge_outline_auc_local"].mean().item() == pytest.approx(1, abs=0.02)
    # The floor's share is .02 of the area, the outline's at least as much.
    assert on_outline["edge_outline_mass"].min() > 0.4
    assert on_texture["edge_outline_auc_local"].mean() < 0.1


def test_outline_measures_are_those_of_an_edge_map(few, pilot):
    batch, gradient = few[slice(0, 6)], torch.randn_like(few.image[:6]).exp()
    found = edge_columns(batch, gradient, pilot)
    outline, gradient = batch.outline[:, 0].double().numpy(), gradient.double().numpy()
    expected = {
        "edge_outline_auc": [reference.edge_auc(g, m) for g, m in zip(gradient, outline, strict=True)],
        "edge_outline_auc_local": [slow_auc(g.sum(0), m) for g, m in zip(gradient, outline, strict=True)],
        "edge_outline_mass": [reference.edge_mass(g, m) for g, m in zip(gradient, outline, strict=True)],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=5e-3, err_msg=name)


# --- what cannot be had


def test_without_an_outline_its_measures_are_missing_with_the_reason(few, pilot):
    batch = Batch(few.image, few.target, few.index)
    chosen = EdgeConcentration("true_logit")
    chosen.fit(planted(pilot, pilot.image))
    summary = summarized(chosen, planted(batch, torch.randn_like(few.image)))
    assert not any("outline" in name for name in chosen.measure(planted(batch, few.image)))
    assert "outlines" in summary.missing[OUTLINE[0]]


def test_images_below_four_shifts_are_missing_with_the_reason(few, pilot):
    side = 4 * SHIFT
    for size, known in ((side - 1, False), (side, True)):
        small, bank = (Batch(b.image[..., :size, :size], b.target, b.index) for b in (few, pilot))
        chosen = EdgeConcentration("true_logit", min_edge_pixels=1)
        chosen.fit(planted(bank, bank.image))
        summary = summarized(chosen, planted(small, torch.randn_like(small.image)))
        for name in LOCATED:
            assert np.isfinite(summary.scalars[f"{name}_mean"]) == known
            assert known or f"sides below {side} pixels" in summary.missing[f"{name}_mean"]


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_gradient_or_an_image_that_is_constant_is_missing_alone(value, few, pilot):
    gradient, image = torch.randn_like(few.image), few.image.clone()
    image[7] = 0.5
    batch = Batch(image, few.target, few.index)
    sound = edge_columns(batch, gradient, pilot)
    gradient = gradient.clone()
    gradient[4] = value
    found = edge_columns(batch, gradient, pilot)
    for name in LOCATED:
        assert found[name][[4, 7]].isnan().all()
        rest = sound[name].isfinite() & (torch.arange(len(few)) != 4)
        assert rest.sum() > 20
        torch.testing.assert_close(found[name][rest], sound[name][rest], rtol=1e-4, atol=1e-5)


def test_the_shift_is_four_sigma_and_recorded(few, pilot):
    assert [shift_of(s) for s in (0.1, 0.7, 1, 2)] == [1, 3, 4, 8]
    chosen = EdgeConcentration("true_logit", sigma=2)
    chosen.fit(planted(pilot, pilot.image))
    scalars = summarized(chosen, planted(few, torch.randn_like(few.image))).scalars
    assert (scalars["edge_shift_contour"], scalars["edge_shift_canny"]) == (4, 8)
