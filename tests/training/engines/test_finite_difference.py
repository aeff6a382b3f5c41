"""Finite differences: the exact engine's gradient, on every penalty and kind of network, at two passes."""

import pytest
import timm
import torch
import torch.nn.functional as F
from engine_cases import (
    EDGE,
    GRADNORM,
    assert_agrees,
    classifier,
    cosine,
    gradnorm_and_edge,
    in_float64,
    relu_cnn,
    slopes,
)

import gradlens as gl
from gradlens.core.registry import penalty
from gradlens.core.types import Batch
from gradlens.probes.objectives import evaluate
from gradlens.training.engines import (
    FiniteDifference,
    double_backward,
)
from gradlens.training.engines._finite_difference import Cotangent
from gradlens.training.penalties import choose_penalty


@pytest.mark.parametrize("spec", penalty)
def test_engines_agree_on_every_penalty(cnn, batch, spec):
    # The preset is below what it would act on, so that its hinge is open.
    assert_agrees(cnn, batch, choose_penalty(spec))


@pytest.mark.parametrize(
    "spec",
    ["edge:form=saliency", "edge:batchwise=false", "edge:objective=loss", "gradnorm:norm=l2", "edge:objective=margin"],
)
def test_engines_agree_on_variants(cnn, batch, spec):
    assert_agrees(cnn, batch, choose_penalty(spec))


@gradnorm_and_edge
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_engines_agree_in_both_modes_of_batchnorm(cnn, batch, penalised, mode):
    assert_agrees(cnn.train(mode == "train"), batch, penalised)


@gradnorm_and_edge
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_engines_agree_on_a_residual_network_with_its_max_pool(batch, penalised, activation):
    net = timm.create_model("resnet18", num_classes=10, channels=(16, 32, 64, 128), stem_width=16)
    gl.swap_activations(net, activation)
    assert_agrees(classifier(net), batch[slice(0, 4)], penalised)


@gradnorm_and_edge
def test_engines_agree_on_a_relu_cnn(batch, penalised):
    assert_agrees(relu_cnn(), batch, penalised)


@gradnorm_and_edge
def test_engines_agree_on_a_vision_transformer(batch, penalised):
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10, depth=6, drop_path_rate=0.2)
    assert_agrees(classifier(net), batch[slice(0, 8)], penalised)


@gradnorm_and_edge
def test_engines_agree_on_soft_targets(cnn, batch, penalised):
    mixed = 0.7 * F.one_hot(batch.target, 10) + 0.3 * F.one_hot(batch.target.flip(0), 10)
    soft = Batch(batch.image, mixed.float(), batch.index)
    assert_agrees(cnn, soft, penalised, loss_weight=1.0)
    hard = slopes(double_backward, cnn, batch, GRADNORM)
    assert cosine(slopes(double_backward, cnn, soft, GRADNORM), hard) < 0.99


def through_logits(probe):
    return 3 * probe.logits.square().mean(1) + probe.gradient().abs().sum((1, 2, 3))


def through_logits_alone(probe):
    return probe.logits.logsumexp(1)


def through_units(probe):
    (units,) = probe.units().values()
    return 5 * units.square().sum(1) + probe.gradient("margin").flatten(1).norm(dim=1)


through_units.needs = ("units:2",)


def of_two_gradients(probe):
    return (probe.gradient("loss") - 0.3 * probe.gradient("margin")).abs().sum((1, 2, 3))


def of_two_other_gradients(probe):
    return (probe.gradient("logsumexp") - 0.3 * probe.gradient("margin")).abs().sum((1, 2, 3)) + 9 * probe.loss


def of_the_loss_last(probe):
    return (0.3 * probe.gradient("margin") - probe.gradient("loss")).abs().sum((1, 2, 3))


def of_logits_and_two_gradients(probe):
    return of_two_gradients(probe) * probe.logits.detach().amax(1) + probe.loss


@pytest.mark.parametrize(
    "penalised",
    [
        *(through_logits, through_logits_alone, through_units),
        *(of_two_gradients, of_two_other_gradients, of_the_loss_last, of_logits_and_two_gradients),
    ],
)
@pytest.mark.parametrize("loss_weight", [0.0, 100.0])
def test_all_that_a_penalty_depends_on_is_kept(cnn, batch, penalised, loss_weight):
    assert_agrees(cnn, batch, penalised, loss_weight=loss_weight)


def test_gradients_alone_would_not_be_enough(cnn, batch):
    whole = slopes(double_backward, cnn, batch, through_logits)
    part = slopes(double_backward, cnn, batch, lambda probe: probe.gradient().abs().sum((1, 2, 3)))
    assert cosine(whole, part) < 0.99


def test_step_is_relative_to_the_images(cnn, batch):
    stats = FiniteDifference()(cnn, batch, choose_penalty("gradnorm:eps=.1"), 1.0)
    assert stats.displacement == pytest.approx(3e-4 * float(batch.image.square().mean().sqrt()) / 0.1, rel=1e-4)


def test_step_does_not_come_near_eps(cnn, batch):
    tiny = choose_penalty("gradnorm:eps=1e-4")
    assert FiniteDifference()(cnn, batch, tiny, 1.0).displacement == pytest.approx(0.1, rel=1e-4)
    assert FiniteDifference(largest_displacement=10)(cnn, batch, tiny, 1.0).displacement > 1
    assert_agrees(cnn, batch, tiny)


def test_black_images_are_stepped_from(cnn, batch):
    black = Batch(torch.zeros_like(batch.image), batch.target, batch.index)
    assert_agrees(cnn, black, GRADNORM)


def test_error_is_proportional_to_the_step(cnn, batch):
    exact = slopes(double_backward, *in_float64(cnn, batch), GRADNORM)
    model, precise = in_float64(cnn, batch)
    errors = [(slopes(FiniteDifference(h), model, precise, GRADNORM) - exact).norm() for h in (4e-4, 1e-4)]
    assert float(errors[0] / errors[1]) == pytest.approx(4, rel=0.1)


def test_one_step_is_two_forward_passes(cnn, batch):
    passes = []
    cnn.net[0].register_forward_hook(lambda *_: passes.append(1))
    FiniteDifference()(cnn, batch, EDGE, 1.0)
    assert len(passes) == 2


def test_base_points_graph_is_freed_before_the_second_pass(cnn, batch):
    """What makes the engine's memory that of a plain step: feature maps that are kept for a backward pass."""
    alive, before, after = [], [], []

    class Held:
        def __init__(self, tensor):
            self.tensor, self.counts = tensor, tensor.shape[:1] == (16,) and tensor.ndim == 4
            alive.extend([1] * self.counts)

        def __del__(self):
            del alive[: self.counts]

    cnn.net[0].register_forward_pre_hook(lambda *_: before.append(len(alive)))
    cnn.net[-1].register_forward_hook(lambda *_: after.append(len(alive)))
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        FiniteDifference()(cnn, batch, GRADNORM, 1.0)
    assert after[0] >= 9
    assert before == [0, 0]


def test_drawn_class_stays_where_it_was():
    logits = torch.tensor([[0.1, 0.0, -3.0], [0.0, 0.0, 0.0]])
    draw = torch.tensor([0.2, 0.99])
    sampled = gl.methods("objectives")["sampled_logit"]
    cotangent = Cotangent(lambda z: sampled(z, torch.tensor([0, 0]), draw), logits)
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(cotangent.at_base, expected)
    # Far enough that both would draw another class.
    assert torch.equal(cotangent.at(logits.flip(1) * 9 + 5), expected)


@pytest.mark.parametrize("of", gl.methods("objectives"))
def test_cotangent_is_continued_to_first_order(of):
    logits = torch.randn(6, 5, dtype=torch.float64)
    target, draw = torch.randint(5, (6,)), torch.rand(6)

    def value(z):
        return evaluate(of, z, target, lambda: draw)

    def derivative(z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad(value(z).sum(), z)[0]

    cotangent = Cotangent(value, logits)
    assert torch.equal(cotangent.at_base, derivative(logits))
    move = torch.randn_like(logits)
    errors = [(cotangent.at(logits + h * move) - derivative(logits + h * move)).norm() for h in (1e-3, 1e-4)]
    assert errors[1] < 1e-7
    assert errors[0] < 1e-5
