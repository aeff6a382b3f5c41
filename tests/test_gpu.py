"""What differs on a GPU: its own Canny, TF32, fused attention, its random numbers and its memory. `pytest -m gpu`."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import skimage.data
import timm
import torch
import torch.nn.functional as F
from engine_cases import assert_agrees, assert_drops_the_same_units, flat, gradnorm_and_edge, in_float64, smooth
from skimage import color, feature
from torch import nn

import gradlens as gl
from gradlens.core.memory import available_bytes, within_memory
from gradlens.core.registry import edge_map, penalty
from gradlens.core.types import Batch
from gradlens.models._zoo import digits_cnn
from gradlens.training._memory import step_bytes
from gradlens.training._setup import open_model, open_split
from gradlens.training.engines import double_backward
from gradlens.training.penalties import choose_penalty

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
GPU, HALF = torch.device("cuda", 0), (0.5, 0.5, 0.5)


def on_gpu(net):
    return gl.load_model(net, mean=HALF, std=HALF, device=str(GPU))


@pytest.fixture
def photos():
    return gl.load_data("photos").batch(range(16))


@pytest.fixture
def tf32():
    """Switched on by the caller, as many training codes do; a measurement is not to use it, and to leave it on."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def relative(found, exact):
    """The error's length over the image's own."""
    error = (found.cpu().double() - exact).flatten(1).norm(dim=1)
    return float((error / exact.flatten(1).norm(dim=1)).max())


# Measuring


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "immunohistochemistry"])
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_canny_is_scikit_images_on_every_pixel(name, sigma):
    picture = getattr(skimage.data, name)() / 255
    image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    found = gl.edges.canny(image.to(GPU), sigma=sigma)
    assert found.device == GPU
    np.testing.assert_array_equal(found[0, 0].cpu() > 0, feature.canny(color.rgb2gray(picture), sigma, 0.1, 0.2))


@pytest.mark.parametrize("name", list(edge_map))
def test_edge_maps_are_the_cpus(name, photos):
    there = edge_map.build(name)(photos.image.to(GPU))
    torch.testing.assert_close(there.cpu(), edge_map.build(name)(photos.image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
@pytest.mark.usefixtures("tf32")
def test_input_gradients_are_the_exact_ones_whatever_the_callers_tf32(arch, photos):
    size = {"img_size": 64} if "vit" in arch else {}
    net = timm.create_model(arch, num_classes=8, **size).eval()
    gl.swap_activations(net, "gelu")
    exact, image = copy.deepcopy(net).double(), photos.image.double().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(exact(2 * image - 1), photos.target, reduction="sum"), image)
    found = gl.input_gradient(on_gpu(net), photos.image, photos.target)
    assert relative(found, expected) < 2e-5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_is_the_cpus(tmp_path, precision):
    """All of the standard set; one ReLU or Canny pixel within rounding of its threshold may turn."""
    net, data = digits_cnn(num_classes=8, width=8).eval(), gl.load_data("photos", limit=64)
    cpu = gl.analyze(gl.load_model(copy.deepcopy(net), mean=HALF, std=HALF, device="cpu"), data, batch_size=32)
    found = gl.analyze(on_gpu(net), data, batch_size=32, precision=precision).samples
    both = [c for c in cpu.samples if pd.api.types.is_float_dtype(cpu.samples[c]) and "_p" not in c]
    tolerance = 2e-3 if precision == "float32" else 0.1
    for column in both if precision == "float32" else ["loss", "l1", "l2"]:
        a, b = cpu.samples[column].to_numpy(), found[column].to_numpy()
        assert np.nanmax(abs(a - b)) <= tolerance * max(1, np.nanmax(abs(a))), column


def test_attacks_reach_as_far_as_on_the_cpu(cnn, digits):
    image, target, index = digits.image, digits.target, digits.index
    chosen = gl.methods("analyzers")["minimal_eps"](low=0.01, high=0.1, points=10, steps=10, restarts=2, queries=100)
    here = chosen.measure(gl.probe(cnn, image, target))["eps_min"]
    there = copy.deepcopy(cnn).to(GPU)
    found = chosen.measure(gl.probe(there, image.to(GPU), target.to(GPU)))["eps_min"].cpu()
    assert len(index) == 64
    # A step of the grid is .01; a start or a step may round to the other side of a boundary.
    assert float((found != here).double().mean()) < 0.1
    assert float((found - here).abs().max()) < 0.011


def test_a_batch_that_does_not_fit_is_halved(photos):
    model = on_gpu(timm.create_model("resnet18", num_classes=8))
    many = Batch(photos.image.repeat(64, 1, 1, 1).to(GPU), photos.target.repeat(64).to(GPU), torch.arange(1024))
    whole = gl.probe(model, many.image, many.target).gradient().cpu()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((before + 1.2e9) / total)
    try:
        take = lambda piece: gl.probe(model, piece.image, piece.target).gradient().cpu()  # noqa: E731
        pieces, size = within_memory(take, many, len(many))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= size < len(many)
    assert free > 1.2e9
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-3, atol=1e-6)


# Training


@pytest.mark.parametrize("spec", penalty)
def test_engines_agree_on_every_penalty(cnn, batch, spec):
    assert_agrees(cnn.to(GPU), batch.to(GPU), choose_penalty(spec))


@gradnorm_and_edge
def test_engines_agree_where_attention_is_fused(batch, penalised):
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, depth=6, drop_path_rate=0.2)
    assert_agrees(on_gpu(net), batch[slice(0, 8)].to(GPU), penalised)


@gradnorm_and_edge
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_engines_agree_on_a_residual_network_with_its_max_pool(batch, penalised, activation):
    net = timm.create_model("resnet18", num_classes=10, channels=(16, 32, 64, 128), stem_width=16)
    gl.swap_activations(net, activation)
    assert_agrees(on_gpu(net), batch[slice(0, 4)].to(GPU), penalised)


@gradnorm_and_edge
def test_engines_drop_the_same_units(batch, penalised):
    model = smooth(nn.GELU(), nn.Dropout(0.5)).train()
    assert_drops_the_same_units(model.to(GPU), batch.to(GPU), penalised)


@gradnorm_and_edge
def test_steps_are_the_cpus(cnn, batch, penalised):
    model, exact = in_float64(cnn, batch)
    double_backward(model, exact, penalised, 1.2, loss_weight=0.8)
    there = cnn.to(GPU)
    double_backward(there, batch.to(GPU), penalised, 1.2, loss_weight=0.8)
    assert float((flat(there).cpu() - flat(model)).norm() / flat(model).norm()) < 1e-4


COMMON = {
    **{"data": "digits", "limit": 256, "epochs": 4, "batch_size": 32, "lr": 4e-3, "eval_images": 64},
    **{"arch": "digits_cnn:width=8", "device": "cuda"},
}


@pytest.mark.parametrize(
    "given",
    [
        {"penalty": "edge:alpha=1,step=.3", "ema": 0.9, "shift": 2, "random_erasing": 0.5},
        {"penalty": "gradnorm:eps=.05", "engine": "double_backward", "precision": "bfloat16"},
        {"method": "pgd:steps=2", "precision": "bfloat16", "mixup": 0.4},
        {"method": "trades:steps=2", "accumulate": 2},
    ],
    ids=["penalised", "penalised-bf16", "attacked-bf16", "trades"],
)
def test_training_learns_and_its_checkpoint_opens_anywhere(tmp_path, given):
    result = gl.train(gl.TrainConfig(**{**COMMON, **given}, out=tmp_path / "run"), progress=False)
    assert result.history[-1]["val_top1"] > 0.3
    assert all(math.isfinite(row["loss"]) for row in result.history)
    batch = gl.load_data("digits", limit=64).batch(gl.load_data("digits", limit=64).indices)
    here, there = (gl.load_model(result.checkpoint, device=device) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there(batch.image.to(GPU)).cpu(), here(batch.image), rtol=1e-3, atol=1e-3)


def test_resumed_training_goes_on(tmp_path, monkeypatch):
    """Not bit for bit, which some of cuDNN's sums are not; as near as two uninterrupted runs are."""
    from gradlens.training.train import Training

    given = gl.TrainConfig(**COMMON, penalty="edge:alpha=1", ema=0.9, out=tmp_path / "run")
    whole = gl.train(dataclasses.replace(given, out=tmp_path / "whole"), progress=False)
    finish, ends = Training.finish_epoch, []

    def stopping(self):
        ends.append(1)
        if len(ends) == 3:
            raise SystemExit("killed")
        finish(self)

    monkeypatch.setattr(Training, "finish_epoch", stopping)
    with pytest.raises(SystemExit):
        gl.train(given, progress=False)
    resumed = gl.train(given, resume=True, progress=False)
    assert resumed.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=0.05)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("given", [{}, {"penalty": "gradnorm:eps=.05"}], ids=["plain", "finite difference"])
def test_memory_of_a_step_is_foretold(tmp_path, given):
    """Within a factor of two: the estimate leaves the hardware's workspaces and what lives for a moment out."""
    config = gl.TrainConfig(
        **{**COMMON, "arch": "preactresnet18", "limit": None, "batch_size": 256, "epochs": 1}, **given, out=tmp_path
    )
    data = open_split(config, "train")
    model = open_model(config, data)
    batch = data.bind(model.card.preprocess).batch(range(8)).to(GPU)
    foretold = sum(step_bytes(config, model, batch))
    del model
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    gl.train(dataclasses.replace(config, eval_eps=0, eval_images=8), progress=False)
    assert 0.5 < torch.cuda.max_memory_allocated() / foretold < 2


def test_free_memory_is_the_gpus():
    free, total = torch.cuda.mem_get_info()
    assert 0 < available_bytes(GPU) <= total
    assert available_bytes(GPU) >= free
