"""The backward pass of a measured gradient: nothing is divided by zero, and nothing is computed in TF32."""

import pytest
import torch
from torch import nn

from gradlens.core.types import Batch
from gradlens.probes.probe import Probe


class Brightness(nn.Module):
    """Two logits: 2,000 times the mean pixel, and 0."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([2000 * mean, 0 * mean], 1)


def test_a_loss_that_is_exactly_zero_has_a_zero_gradient_beside_one_that_is_not():
    image = torch.stack([torch.ones(3, 4, 4), torch.zeros(3, 4, 4)])
    probe = Probe(Brightness(), Batch(image, torch.zeros(2, dtype=torch.long), torch.arange(2)))
    direction, scale = probe.scaled_gradient("loss")
    # The second image's logits are equal: the loss falls by half of what the first logit gains.
    assert scale.tolist() == [0, 0.5]
    assert (direction[0] == 0).all()
    assert (probe.gradient("loss")[0] == 0).all()
    torch.testing.assert_close(probe.gradient("loss")[1], torch.full((3, 4, 4), -1000 / 48))


class Listening(torch.autograd.Function):
    """The identity, which notes the precision of matrix products in either direction."""

    heard: list[str]

    @staticmethod
    def forward(ctx, x):
        Listening.heard.append(f"forward {torch.get_float32_matmul_precision()}")
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Listening.heard.append(f"backward {torch.get_float32_matmul_precision()}")
        return gradient


class Overheard(Brightness):
    def forward(self, x):
        return super().forward(Listening.apply(x))


@pytest.fixture
def lowered():
    """A caller who trains with shorter matrix products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("lowered")
def test_both_passes_are_in_full_float32_whatever_the_caller_has_set():
    Listening.heard = []
    probe = Probe(Overheard(), Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), torch.arange(2)))
    probe.scaled_gradient("loss")
    assert Listening.heard == ["forward highest", "backward highest"]
    assert torch.get_float32_matmul_precision() == "high"
