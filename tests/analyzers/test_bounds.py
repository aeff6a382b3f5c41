"""The bounds are their formulas over the largest slope and curvature of the pilot images; missing is not zero."""

import copy

import numpy as np
import pytest
import torch
from planted import frame
from torch import nn

import gradlens as gl
from gradlens import UserError
from gradlens.analyzers._bounds import Bounds
from gradlens.core.types import Batch
from gradlens.models._zoo import digits_cnn
from gradlens.probes.probe import Probe

HALF = (0.5, 0.5, 0.5)


def slowly(model, batch):
    """Margins in probabilities and the L2 and L1 norms of their gradients, in float64."""
    image = batch.image.double().requires_grad_()
    p = copy.deepcopy(model).double()(image).softmax(1)
    own = p.gather(1, batch.target[:, None])[:, 0]
    margin = p.scatter(1, batch.target[:, None], -1).amax(1) - own
    gradient = torch.autograd.grad(margin.sum(), image)[0].flatten(1)
    return margin.detach(), gradient.norm(dim=1), gradient.abs().sum(1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_first_order_bound_is_the_gap_over_the_largest_slope(cnn, digits, norm):
    batch, pilot = digits[slice(0, 16)], digits[slice(32, 64)]
    chosen = Bounds(norm, steps=3)
    chosen.fit(Probe(cnn, pilot))
    found = chosen.measure(Probe(cnn, batch))["l_bound"]
    margin, *norms = slowly(cnn, batch)
    own, seen = norms[norm == "linf"], slowly(cnn, pilot)[1 + (norm == "linf")].max()
    torch.testing.assert_close(found, (-margin).clamp(min=0) / own.clamp(min=seen), rtol=1e-4, atol=1e-9)


class Curved(nn.Module):
    """The label's logit is ``2 artanh(m)`` of a quadratic, so the margin in probabilities is ``−m``."""

    def forward(self, image):
        x = image.flatten(1)
        m = 0.6 - 0.5 * x[:, 0] - 0.4 * x[:, 1] ** 2
        return torch.stack([2 * m.atanh(), torch.zeros_like(m)], 1)


def test_the_second_order_bound_is_the_root_for_a_known_curvature():
    batch = Batch(torch.rand(8, 1, 2, 2) * 0.5, torch.zeros(8, dtype=torch.long), torch.arange(8))
    chosen = Bounds(steps=200)
    chosen.fit(Probe(Curved(), batch))
    found = chosen.measure(Probe(Curved(), batch))
    x = batch.image.flatten(1).double()
    gap = 0.6 - 0.5 * x[:, 0] - 0.4 * x[:, 1] ** 2
    slope = torch.stack([torch.full((8,), 0.5).double(), 0.8 * x[:, 1]], 1).norm(dim=1)
    assert (gap > 0).all()
    # Hessian diag(0, 0.8, 0, 0).
    torch.testing.assert_close(found["c_bound"], (-slope + (slope**2 + 1.6 * gap).sqrt()) / 0.8, rtol=1e-3, atol=0)
    distance = torch.linspace(0, 1, 2001)[:, None]
    reach = slope * distance + 0.4 * distance**2
    first = distance[(reach < gap).sum(0), 0].double()
    torch.testing.assert_close(found["c_bound"], first, rtol=0, atol=1e-3)


def test_the_finite_difference_is_near_the_gradients_norm(cnn, batch):
    chosen, probe = Bounds(h=1e-4), Probe(cnn, batch)
    found = chosen.measure(probe)["fd_norm"]
    torch.testing.assert_close(found, probe.gradient("loss").flatten(1).norm(dim=1).double(), rtol=2e-3, atol=0)


def test_what_is_missing_is_not_zero(batch):
    model = gl.load_model(digits_cnn(activation="relu", width=4), mean=HALF, std=HALF, device="cpu")
    probe = Probe(model, batch)
    wrong = Probe(model, Batch(batch.image, (probe.prediction + 1) % 10, batch.index))
    for look, missing in ((probe, "c_bound_mean"), (wrong, "l_bound_mean")):
        chosen = Bounds(steps=3)
        chosen.fit(look)
        columns = chosen.measure(look)
        assert columns["c_bound"].isnan().all()
        summary = chosen.summarize(frame(look, columns), {})
        assert np.isnan(summary.scalars[missing])
        assert summary.missing[missing]


@pytest.mark.parametrize("wrong", [{"norm": "l1"}, {"h": 0.0}])
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(UserError):
        Bounds(**wrong)
