"""What the tests of the engines share: small networks, and gradients as one vector."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradlens as gl
from gradlens.core.types import Batch
from gradlens.models._zoo import digits_cnn
from gradlens.training.engines import FiniteDifference, double_backward
from gradlens.training.penalties import choose_penalty

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
STEPS = {"double_backward": double_backward, "finite_difference": FiniteDifference()}
GRADNORM, EDGE = choose_penalty("gradnorm"), choose_penalty("edge")
each_engine = pytest.mark.parametrize("engine", STEPS.values(), ids=STEPS)
gradnorm_and_edge = pytest.mark.parametrize("penalised", [GRADNORM, EDGE], ids=["gradnorm", "edge"])


def classifier(net):
    return gl.load_model(net, mean=MEAN, std=STD, device="cpu")


def relu_cnn():
    return classifier(digits_cnn(activation="relu", width=8)).train()


def pooled(activation=nn.GELU, pool=nn.MaxPool2d):
    """A network with a max-pool, as ResNet's stem has."""
    head = (nn.Flatten(), nn.Linear(8 * 64, 10))
    return classifier(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), activation(), pool(2), nn.Conv2d(8, 8, 3, padding=1), activation(), *head
        )
    )


def smooth(*middle):
    """A small network with one layer of interest."""
    return classifier(nn.Sequential(nn.Conv2d(3, 8, 3, 4), *middle, nn.Flatten(), nn.Linear(8 * 64, 10)))


def slopes(engine, model, batch, penalised, weight=1.0, loss_weight=0.0, **options):
    """All parameters' gradients in one float64 vector; the model is left alone."""
    model = copy.deepcopy(model)
    model.zero_grad()
    engine(model, batch, penalised, weight, loss_weight=loss_weight, **options)
    return flat(model)


def flat(model):
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).double().flatten() for p in model.parameters()]
    )


def in_float64(model, batch):
    return copy.deepcopy(model).double(), Batch(batch.image.double(), batch.target, batch.index)


def cosine(a, b):
    return float(F.cosine_similarity(a, b, dim=0))


def assert_agrees(model, batch, penalised, at_least=0.999, **options):
    """The fast engine in float32 against double backward in float64, in direction and length."""
    exact = slopes(double_backward, *in_float64(model, batch), penalised, **options)
    fast = slopes(FiniteDifference(), model, batch, penalised, **options)
    assert cosine(fast, exact) >= at_least
    assert float(fast.norm() / exact.norm()) == pytest.approx(1, abs=0.05)


def assert_drops_the_same_units(model, batch, penalised):
    """Both engines, started from the same random numbers."""
    found = []
    for engine in STEPS.values():
        torch.manual_seed(1)
        found.append(slopes(engine, model, batch, penalised))
    assert cosine(*found) > 0.999
    assert cosine(found[0], slopes(double_backward, model, batch, penalised)) < 0.99


def snapshot(model):
    return {
        "grad": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "state": {k: v.tolist() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "tracking": [getattr(m, "track_running_stats", None) for m in model.modules()],
        "random": torch.get_rng_state().tolist(),
        "fused": torch.backends.cuda.flash_sdp_enabled(),
    }
