"""Laws that hold for every penalty in the registry."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from penalty_cases import each_penalty, rows, value
from torch import nn

from gradlens.core.registry import penalty
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.training.penalties import RAMP, choose_penalty

# Of which the gradient's direction is a constant by definition, so its derivative is that with the gradient held.
HELD = ("tulip",)


@each_penalty
def test_penalty_is_one_number_an_image_or_one_of_the_batch(cnn, batch, spec):
    found = value(cnn, batch, spec)
    assert found.shape in ((), (16,))
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert found.any()


@each_penalty
def test_penalty_is_the_same_number_in_every_mode(cnn, batch, spec):
    measured = value(cnn, batch, spec, "value")
    # Squared differences of losses over h = 0.01 keep fewer digits: twice the logits' rounding of 1e-7 over 0.01.
    digits = 1e-4 if spec in HELD else 1e-5
    for mode in ("graph", "leaf"):
        torch.testing.assert_close(value(cnn, batch, spec, mode), measured, rtol=digits, atol=1e-7)


@each_penalty
def test_penalty_of_an_image_does_not_depend_on_the_others(cnn, batch, spec):
    together = value(cnn, batch, spec)
    if together.ndim == 0:
        assert (value(cnn, batch[slice(0, 8)], spec) - together).abs() > 1e-4
        return
    order = torch.randperm(16)
    torch.testing.assert_close(value(cnn, rows(batch, order), spec), together[order], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(value(cnn, batch[slice(3, 7)], spec), together[3:7], rtol=1e-5, atol=1e-7)


class Weights(nn.Module):
    """A small smooth network of 6 × 6 images whose weights are plain tensors."""

    def __init__(self, kernel, bias, head):
        super().__init__()
        self.kernel, self.bias, self.head = kernel, bias, head

    def forward(self, image):
        return F.gelu(F.conv2d(image - 0.5, self.kernel, self.bias)).flatten(1) @ self.head


@pytest.fixture
def tiny():
    """Images with edges, and weights, in float64."""
    image = torch.rand(2, 3, 6, 6, dtype=torch.float64) * 0.2
    image[..., 3:] += 0.7
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4, 4), (2,), (18, 3))]
    return Batch(image, torch.tensor([0, 2]), torch.arange(2)), weights


@each_penalty
def test_penalty_can_be_differentiated_twice_by_the_parameters(tiny, spec):
    batch, weights = tiny
    held = Probe(Weights(*weights), batch).gradient("loss")

    def of(*weights):
        probe = Probe(Weights(*weights), batch, "graph")
        if spec in HELD:
            probe._gradients["loss"] = held
        return choose_penalty(spec)(probe)

    assert torch.autograd.gradcheck(of, weights, fast_mode=True)
    assert torch.autograd.gradgradcheck(of, weights, fast_mode=True)


@pytest.mark.parametrize("name", penalty)
def test_no_penalty_takes_a_name_that_belongs_to_its_weight(name):
    assert not set(RAMP) & set(inspect.signature(penalty[name]).parameters)
