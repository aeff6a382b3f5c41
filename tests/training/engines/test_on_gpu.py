"""On a GPU the engines agree, drop the same units, and step as on the CPU."""

import pytest
import timm
from engine_cases import assert_agrees, assert_drops_the_same_units, flat, gradnorm_and_edge, in_float64, smooth
from on_gpu import GPU, needs_gpu, on_gpu
from torch import nn

import gradlens as gl
from gradlens.core.registry import penalty
from gradlens.training.engines import double_backward
from gradlens.training.penalties import choose_penalty

pytestmark = needs_gpu


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
