"""The linearity error is its definition in float64, and none where the loss is a straight line."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradlens import UserError
from gradlens.analyzers._linearity import Linearity
from gradlens.core.seeds import image_uniform
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

EPS = 4 / 255


def test_the_error_is_its_definition_in_float64(cnn, batch):
    found = Linearity().measure(Probe(cnn, batch, seed=3))["linearity_error"]
    model = copy.deepcopy(cnn).double()
    for row in range(6):
        index, image = batch.index[row : row + 1], batch.image[row : row + 1].double()
        a, b = (image + EPS * (2 * image_uniform(3, index, f"linearity{draw}", (3, 32, 32)) - 1) for draw in ("", "/1"))
        t = image_uniform(3, index, "linearity/2").item()
        with torch.no_grad():
            at = [F.cross_entropy(model(x), batch.target[row : row + 1]) for x in (a, b, (1 - t) * a + t * b)]
        assert found[row].item() == pytest.approx(float(at[2] - (1 - t) * at[0] - t * at[1]) ** 2, rel=1e-9, abs=1e-24)


def test_a_straight_loss_has_an_error_below_that_of_float32():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        # So wrong that the loss is the logits' difference.
        net[1].bias.copy_(torch.tensor([60.0, 0.0]))
    batch = Batch(torch.rand(4, 3, 4, 4), torch.ones(4, dtype=torch.long), torch.arange(4))
    error = Linearity(0.1).measure(Probe(net, batch))["linearity_error"]
    assert (error < 1e-24).all()


@pytest.mark.parametrize("eps", [0.0, -0.1, 8.0])
def test_a_radius_that_is_none_is_refused(eps):
    with pytest.raises(UserError, match="4/255"):
        Linearity(eps)
