"""Branch replay: the second pass of a finite difference stays on the base point's branches."""

import pytest
import torch
import torch.nn.functional as F
from engine_cases import EDGE, assert_agrees, gradnorm_and_edge, pooled, relu_cnn, smooth
from torch import nn

from gradlens.core.types import UserError
from gradlens.training.engines import FiniteDifference, agreement, kink
from gradlens.training.engines import _replay as replay

# --- branches


def branching():
    """Functions with their networks' names, and an input away from its kinks."""
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64) * 4
    weight = torch.tensor([0.2, -0.3, 0.5], dtype=torch.float64)
    return x, {
        "relu": F.relu,
        "relu6": F.relu6,
        "hardtanh": lambda x: F.hardtanh(x, -2.0, 1.5),
        "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
        "prelu": lambda x: F.prelu(x, weight),
        "torch.relu": torch.relu,
        "Tensor.relu": lambda x: x.relu(),
        "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
        "MaxPool2d": nn.MaxPool2d(2),
        "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
        "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 2),
        "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 3, 2),
    }


@pytest.mark.parametrize("name", branching()[1])
def test_branch_is_the_function_and_its_tangent_beyond_the_kinks(name):
    x, functions = branching()
    function = functions[name]
    recording = replay.Recording()
    with recording:
        there = function(x)
    torch.testing.assert_close(there, function(x), rtol=0, atol=0)
    far = torch.randn_like(x) * 10
    expected = function(x) + torch.autograd.functional.jvp(function, x, far)[1]
    with replay.Replay(recording):
        found = function(x + far)
    torch.testing.assert_close(found, expected)
    assert (found - function(x + far)).abs().max() > 1


@pytest.mark.parametrize("function", [nn.ReLU(True), torch.relu_, nn.LeakyReLU(0.1, True), nn.Hardtanh(inplace=True)])
def test_function_in_place_stays_in_place(function):
    x = torch.randn(3, 4)
    recording = replay.Recording()
    with recording:
        given = x.clone()
        found = function(given)
    assert found is given
    torch.testing.assert_close(found, function(x.clone()))
    with replay.Replay(recording):
        given = -x
        assert function(given) is given
    assert len(recording.branches) == 1


def test_gradient_flows_along_the_branch():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    recording = replay.Recording()
    with recording:
        F.relu(x)
    with replay.Replay(recording):
        F.relu(-x).sum().backward()
    assert x.grad.tolist() == [0, -1]


@gradnorm_and_edge
@pytest.mark.parametrize("make", [relu_cnn, pooled], ids=["relu", "max-pool"])
def test_without_its_branches_a_network_gets_something_else(batch, monkeypatch, penalised, make):
    model = make()
    assert_agrees(model, batch, penalised)
    assert kink(FiniteDifference(), model, batch, penalised) < 0.03
    monkeypatch.setattr(replay, "BRANCHES", {})
    assert agreement(FiniteDifference(), model, batch, penalised) < 0.9
    assert kink(FiniteDifference(), model, batch, penalised) > 0.1


@gradnorm_and_edge
def test_smooth_network_raises_no_alarm(cnn, batch, penalised):
    assert kink(FiniteDifference(), cnn, batch, penalised) < 0.03


def test_network_of_changing_paths_is_refused(batch):
    class Fickle(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return F.relu(x) if self.calls == 1 else F.relu(F.relu(x))

    model = smooth(fickle := Fickle())
    # Opening it looked at the activations that it calls.
    fickle.calls = 0
    with pytest.raises(UserError, match=r"called relu more often .* the engine double_backward"):
        FiniteDifference()(model, batch, EDGE, 1.0)
