"""Engines: the parameter gradient of a penalised loss, exact and by finite differences, and what guards the latter."""

import copy
import logging
import math
import re

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

import gradlens as gl
from gradlens._registry import penalty
from gradlens._types import Batch, UserError
from gradlens.engines import (
    ENGINES,
    CheckedFiniteDifference,
    FiniteDifference,
    agreement,
    double_backward,
    kink,
    make_engine,
    plain_step,
    training_preflight,
)
from gradlens.engines import _replay as replay
from gradlens.engines._leaf import Cotangent
from gradlens.models._zoo import digits_cnn
from gradlens.penalties import choose_penalty

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


# --- what both fill in


@each_engine
def test_step_is_the_gradient_of_the_weighted_sum(cnn, batch, engine):
    """Against the loss written out in float64, with mean cross-entropy and the papers' GradNorm."""
    model, exact = in_float64(cnn, batch)
    image = exact.image.requires_grad_()
    losses = F.cross_entropy(model(image), batch.target, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), image, create_graph=True)
    (0.8 * losses.mean() + 1.2 * 0.1 * gradient.abs().sum((1, 2, 3)).mean()).backward()
    stats = engine(cnn, batch, choose_penalty("gradnorm:eps=.1"), 1.2, loss_weight=0.8)
    error = float((flat(cnn) - flat(model)).norm() / flat(model).norm())
    # A forward difference errs by half its step times the next derivative.
    assert error < (1e-4 if engine is double_backward else 2e-2)
    assert stats.loss == pytest.approx(losses.mean().item(), rel=1e-4)
    assert stats.penalty == pytest.approx(0.1 * gradient.abs().sum((1, 2, 3)).mean().item(), rel=1e-4)


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


@each_engine
def test_gradients_add_up(cnn, batch, engine):
    halves = batch[slice(0, 8)], batch[slice(8, 16)]
    whole = slopes(engine, cnn, batch, GRADNORM, 1.2, 0.8)
    for half in halves:
        engine(cnn, half, GRADNORM, 0.6, loss_weight=0.4)
    assert cosine(flat(cnn), whole) > 0.9999
    assert float(flat(cnn).norm() / whole.norm()) == pytest.approx(1, abs=1e-2)


@each_engine
def test_no_weight_is_a_plain_step(cnn, batch, engine):
    stats = engine(cnn, batch, GRADNORM, 0.0, loss_weight=0.5)
    found = flat(cnn)
    cnn.zero_grad()
    (0.5 * F.cross_entropy(cnn(batch.image), batch.target)).backward()
    torch.testing.assert_close(found, flat(cnn), rtol=1e-4, atol=1e-6)
    assert (stats.engine, math.isnan(stats.penalty)) == ("plain", True)


@each_engine
def test_frozen_parameters_stay_without_gradient(cnn, batch, engine):
    cnn.net[0].weight.requires_grad_(False)
    engine(cnn, batch, EDGE, 1.0)
    assert cnn.net[0].weight.grad is None
    assert cnn.net[3].weight.grad.any()


@each_engine
def test_batchnorm_hears_of_a_batch_once(cnn, batch, engine):
    cnn.train()
    once = copy.deepcopy(cnn)
    once(batch.image)
    engine(cnn, batch, EDGE, 1.0)
    for (name, found), expected in zip(cnn.named_buffers(), once.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7, msg=name)
    assert all(m.track_running_stats for m in cnn.modules() if isinstance(m, nn.BatchNorm2d))


@each_engine
def test_batchnorm_in_evaluation_mode_stays(cnn, batch, engine):
    before = copy.deepcopy(cnn.state_dict())
    engine(cnn, batch, EDGE, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in cnn.state_dict().items())
    assert not cnn.training


@each_engine
def test_random_numbers_go_on_as_after_one_forward_pass(batch, engine):
    model = smooth(nn.GELU(), nn.Dropout(0.5)).train()
    torch.manual_seed(1)
    model(batch.image)
    expected = torch.get_rng_state()
    torch.manual_seed(1)
    engine(model, batch, EDGE, 1.0)
    assert torch.equal(torch.get_rng_state(), expected)


@gradnorm_and_edge
def test_engines_drop_the_same_units(batch, penalised):
    model = smooth(nn.GELU(), nn.Dropout(0.5)).train()
    found = []
    for engine in (double_backward, FiniteDifference()):
        torch.manual_seed(1)
        found.append(slopes(engine, model, batch, penalised))
    assert cosine(*found) > 0.999
    assert cosine(found[0], slopes(double_backward, model, batch, penalised)) < 0.99


@each_engine
def test_seed_draws_the_classes(cnn, batch, engine):
    with torch.no_grad():
        cnn.net[-1].weight.mul_(1e-2)
    first, again, other = (slopes(engine, cnn, batch, EDGE, seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-5)
    assert cosine(first, other) < 0.99


# --- what a penalty may depend on


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


@each_engine
def test_penalty_that_pulls_nowhere_leaves_the_loss(cnn, batch, engine):
    closed = choose_penalty("gradnorm_hinge:threshold=1000")
    stats = engine(cnn, batch, closed, 1.0, loss_weight=0.5)
    found = flat(cnn)
    cnn.zero_grad()
    plain_step(cnn, batch, 0.5)
    torch.testing.assert_close(found, flat(cnn), rtol=1e-4, atol=1e-6)
    assert stats.penalty == 0


# --- finite differences


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
    cotangent = Cotangent(lambda z: sampled(z, None, draw), logits)
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(cotangent.at_base, expected)
    # Far enough that both would draw another class.
    assert torch.equal(cotangent.at(logits.flip(1) * 9 + 5), expected)


@pytest.mark.parametrize("of", gl.methods("objectives"))
def test_cotangent_is_continued_to_first_order(of):
    logits = torch.randn(6, 5, dtype=torch.float64)
    target, draw = torch.randint(5, (6,)), torch.rand(6)

    def derivative(z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad(gl.methods("objectives")[of](z, target, draw).sum(), z)[0]

    cotangent = Cotangent(lambda z: gl.methods("objectives")[of](z, target, draw), logits)
    assert torch.equal(cotangent.at_base, derivative(logits))
    move = torch.randn_like(logits)
    errors = [(cotangent.at(logits + h * move) - derivative(logits + h * move)).norm() for h in (1e-3, 1e-4)]
    assert errors[1] < 1e-7
    assert errors[0] < 1e-5


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

    with pytest.raises(UserError, match=r"called relu more often .* the engine double_backward"):
        FiniteDifference()(smooth(Fickle()), batch, EDGE, 1.0)


# --- agreement, alarm and falling back


def snapshot(model):
    return {
        "grad": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "state": {k: v.tolist() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "tracking": [getattr(m, "track_running_stats", None) for m in model.modules()],
        "random": torch.get_rng_state().tolist(),
        "fused": torch.backends.cuda.flash_sdp_enabled(),
    }


@pytest.mark.parametrize("look", [agreement, kink], ids=["agreement", "kink"])
def test_looking_leaves_no_trace(batch, look):
    model = smooth(nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)).train()
    plain_step(model, batch)
    before = snapshot(model)
    assert math.isfinite(look(FiniteDifference(), model, batch, EDGE))
    assert snapshot(model) == before


def test_agreement_is_the_cosine(cnn, batch):
    def doubled_and_bent(model, batch, penalised, weight, *, loss_weight=1.0, seed=0):
        double_backward(model, batch, penalised, weight, loss_weight=loss_weight, seed=seed)
        for k, parameter in enumerate(model.parameters()):
            parameter.grad.mul_(2 if k else -2)

    exact = slopes(double_backward, cnn, batch, GRADNORM)
    first = exact[: cnn.net[0].weight.numel()]
    expected = 1 - 2 * float(first.square().sum() / exact.square().sum())
    assert agreement(doubled_and_bent, cnn, batch, GRADNORM) == pytest.approx(expected, abs=1e-6)
    assert agreement(double_backward, cnn, batch, choose_penalty("gradnorm_hinge:threshold=99")) == 1


def test_first_step_is_checked_and_every_so_many_after_it(cnn, batch):
    engine = CheckedFiniteDifference(check_every=3, check_images=8)
    stats = [engine(cnn, batch, GRADNORM, weight) for weight in (0, 1, 1, 1, 1, 0, 1)]
    assert [not math.isnan(s.cosine) for s in stats] == [False, True, False, False, True, False, False]
    assert [not math.isnan(s.kink) for s in stats] == [False, True, False, False, False, False, False]
    assert all(s.cosine > 0.999 for s in stats if not math.isnan(s.cosine))
    assert [s.engine for s in stats] == [
        *("plain", "finite_difference"),
        *("finite_difference",) * 3,
        "plain",
        stats[1].engine,
    ]


def test_disagreement_falls_back_and_says_so(batch, monkeypatch, caplog):
    engine, model = CheckedFiniteDifference(check_every=2), relu_cnn()
    with monkeypatch.context() as without, caplog.at_level(logging.WARNING, "gradlens"):
        without.setattr(replay, "BRANCHES", {})
        stats = [engine(model, batch, EDGE, 1.0) for _ in range(2)]
    assert [s.engine for s in stats] == ["double_backward"] * 2
    assert stats[0].cosine < 0.9
    assert "kinks that finite differences step over" in caplog.messages[0]
    assert "0.99 is wanted: on with double backward" in caplog.messages[1]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = engine(model, batch, EDGE, 1.0)
    assert stats.engine == "finite_difference"
    assert "on with finite differences again" in caplog.messages[0]


@pytest.mark.parametrize(("lowest", "engine"), [(1.0, "double_backward"), (0.99, "finite_difference")])
def test_cosine_decides(cnn, batch, lowest, engine):
    stats = CheckedFiniteDifference(lowest_cosine=lowest)(cnn, batch, EDGE, 1.0)
    assert 0.99 < stats.cosine < 1
    assert stats.engine == engine


def test_cosine_that_is_no_number_is_no_agreement(cnn, batch, monkeypatch):
    monkeypatch.setattr("gradlens.engines._checked.agreement", lambda *_: math.nan)
    assert CheckedFiniteDifference()(cnn, batch, EDGE, 1.0).engine == "double_backward"


def test_fallback_is_exact(batch, monkeypatch):
    monkeypatch.setattr(replay, "BRANCHES", {})
    model = relu_cnn()
    found = slopes(CheckedFiniteDifference(), model, batch, EDGE, 1.2, 0.8)
    torch.testing.assert_close(found, slopes(double_backward, model, batch, EDGE, 1.2, 0.8))


def test_checks_do_not_change_the_steps(cnn, batch):
    model = smooth(nn.BatchNorm2d(8), nn.GELU(), nn.Dropout(0.2)).train()
    found = []
    for engine in (CheckedFiniteDifference(check_every=1), FiniteDifference()):
        torch.manual_seed(1)
        found.append(slopes(engine, model, batch, EDGE, 1.2, 0.8))
    assert torch.equal(*found)


def test_resumed_engine_checks_where_the_first_would(cnn, batch):
    whole, first, second = (CheckedFiniteDifference(check_every=3, check_images=4) for _ in range(3))
    expected = [whole(cnn, batch, GRADNORM, 1.0) for _ in range(5)]
    found = [first(cnn, batch, GRADNORM, 1.0) for _ in range(2)]
    second.load_state_dict(first.state_dict())
    found += [second(cnn, batch, GRADNORM, 1.0) for _ in range(3)]
    assert [math.isnan(s.cosine) for s in found] == [math.isnan(s.cosine) for s in expected]


def test_step_that_cannot_be_checked_goes_on_and_says_so(batch, caplog):
    model = smooth(nn.Hardsigmoid())
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = CheckedFiniteDifference()(model, batch, EDGE, 1.0)
    assert (stats.engine, math.isnan(stats.cosine)) == ("finite_difference", True)
    assert any("cannot be checked, double backward fails: derivative for" in m for m in caplog.messages)


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
    module = __import__("gradlens.engines._double_backward", fromlist=["x"])
    monkeypatch.setattr(module, "sdpa_kernel", lambda _: sdpa_kernel(SDPBackend.FLASH_ATTENTION))
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


# --- mistakes


@each_engine
@pytest.mark.parametrize(
    ("penalised", "message"),
    [
        (lambda probe: probe.gradient().abs(), r"returned \(16, 3, 32, 32\); wanted one number an image, \(16,\)"),
        (lambda probe: 3.0, r"returned float; wanted one number an image"),
        (lambda probe: probe.logits.detach().sum(1), "does not depend on the model"),
    ],
)
def test_what_is_no_penalty_is_refused(cnn, batch, engine, penalised, message):
    with pytest.raises(UserError, match=message):
        engine(cnn, batch, penalised, 1.0)


@each_engine
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_training_needs_labels_and_parameters(cnn, batch, engine, weight):
    with pytest.raises(UserError, match="has no labels, which cross-entropy is trained on"):
        engine(cnn, Batch(batch.image, None, batch.index), GRADNORM, weight)
    with pytest.raises(UserError, match="no parameter with requires_grad; unfreeze"):
        engine(cnn.requires_grad_(False), batch, GRADNORM, weight)


def test_engines_are_made_by_name():
    assert make_engine("double_backward") is double_backward
    assert make_engine("finite_difference") == CheckedFiniteDifference()
    assert make_engine("finite_difference") is not make_engine("finite_difference")
    with pytest.raises(UserError, match="unknown engine 'finite'; did you mean finite_difference"):
        make_engine("finite")
