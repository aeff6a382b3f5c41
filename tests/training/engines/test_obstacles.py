"""What cannot be differentiated twice is named before training; fused attention is lived with."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from engine_cases import EDGE, GRADNORM, classifier, pooled, relu_cnn, smooth, snapshot
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from gradlens.training.engines import ENGINES, FiniteDifference, double_backward, training_preflight

# --- attention


class Backends(TorchFunctionMode):
    """Which attention kernels were allowed at each call."""

    def __init__(self):
        super().__init__()
        self.fused = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "scaled_dot_product_attention":
            self.fused.append(torch.backends.cuda.flash_sdp_enabled())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("engine", "fused"), [(double_backward, False), (FiniteDifference(), True)])
def test_attention_is_fused_where_it_can_be(batch, engine, fused):
    model = classifier(timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, depth=1))
    with Backends() as seen:
        engine(model, batch[slice(0, 2)], EDGE, 1.0)
    assert set(seen.fused) == {fused}
    assert torch.backends.cuda.flash_sdp_enabled()


def test_fused_attention_alone_has_no_second_derivative(batch, monkeypatch):
    monkeypatch.setattr(
        "gradlens.training.engines._step.sdpa_kernel", lambda _: sdpa_kernel(SDPBackend.FLASH_ATTENTION)
    )
    model = classifier(timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, depth=1))
    with pytest.raises(RuntimeError, match="is not implemented"):
        double_backward(model, batch[slice(0, 2)], EDGE, 1.0)


# --- what cannot be differentiated twice


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def overwritten(x):
    y = torch.sigmoid(x)
    return F.relu(y, inplace=True) + x


def recomputed(x):
    return torch.utils.checkpoint.checkpoint(torch.tanh, x, use_reentrant=True)


def compiled(model):
    model.net = torch.compile(model.net, backend="eager")
    return model


def compiled_in_place(model):
    model.net[0].compile(backend="eager")
    return model


def test_function_that_is_differentiable_once_is_no_silent_zero(batch):
    with pytest.raises(RuntimeError, match="once_differentiable"):
        double_backward(smooth(Applied(Once.apply)), batch, EDGE, 1.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compiled(smooth(nn.GELU())), "net is compiled by torch.compile.*train the module as it was before"),
        (lambda: compiled_in_place(smooth(nn.GELU())), "net.0 is compiled by torch.compile"),
        (lambda: smooth(nn.GELU()).half(), "float16 loses the gradients.*float32"),
        (lambda: smooth(nn.GELU()).bfloat16(), "parameters are bfloat16.*autocast"),
        (lambda: smooth(Applied(overwritten)), "an activation in place overwrites.*inplace=False or swap_activations"),
        (
            lambda: smooth(Applied(overwritten), nn.SiLU(True)),
            r"an activation in place \(net.2\) overwrites",
        ),
        (lambda: smooth(Applied(recomputed)), r"gradient checkpointing.*call model.set_grad_checkpointing\(False\)"),
    ],
)
def test_obstacle_is_named_with_its_remedy(batch, engine, make, message):
    found = training_preflight(make(), batch, EDGE, engine)
    assert re.search(message, one_line(found.obstacles))


def one_line(found):
    """The only line there is."""
    (line,) = found
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("layer", "message"),
    [(nn.Hardsigmoid(), "hardsigmoid has no second derivative"), (Applied(Once.apply), "marked once_differentiable")],
)
def test_what_finite_differences_can_do_without_is_noted(batch, layer, message):
    exact = training_preflight(smooth(layer), batch, EDGE, "double_backward")
    assert re.search(f"{message}; swap it .* engine finite_difference", one_line(exact.obstacles))
    fast = training_preflight(smooth(layer), batch, EDGE, "finite_difference")
    assert fast.obstacles == []
    assert re.search(f"{message}; finite differences cannot be checked", one_line(fast.notes))


@pytest.mark.parametrize(("engine", "where"), [("double_backward", "each step"), ("finite_difference", "each check")])
def test_fused_attention_is_noted(batch, engine, where):
    model = classifier(timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, depth=3))
    found = training_preflight(model, batch, EDGE, engine)
    assert found.obstacles == []
    assert re.search(rf"fused attention \(3 calls\) .* {where}", one_line(found.notes))


def test_short_precision_of_autocast_is_seen(batch):
    model = smooth(nn.GELU())
    for dtype, engine, message in (
        (torch.float16, "double_backward", "float16"),
        (torch.bfloat16, "finite_difference", "coarser than a finite difference"),
        (torch.bfloat16, "double_backward", None),
    ):
        with torch.autocast("cpu", dtype):
            found = training_preflight(model, batch, EDGE, engine).obstacles
        assert not found if message is None else re.search(message, one_line(found))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "make",
    [lambda: smooth(nn.SiLU(True)), relu_cnn, pooled, lambda: smooth(nn.BatchNorm2d(8), nn.ReLU(True))],
)
def test_preflight_of_what_works_says_nothing_and_leaves_no_trace(batch, engine, make):
    model = make()
    before = snapshot(model)
    assert training_preflight(model, batch, GRADNORM, engine) == ([], [])
    assert snapshot(model) == before
