import copy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import Permute

import gradlens as gl
from gradlens.core.registry import objective
from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier
from gradlens.models.watching import full_float32
from gradlens.probes.probe import Probe

OBJECTIVES = list(objective)
each_objective = pytest.mark.parametrize("of", OBJECTIVES)


def random_batch(n, side=32, classes=10, first=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(first)
    image = torch.rand(n, 3, side, side, generator=generator, dtype=dtype)
    return Batch(image, torch.randint(classes, (n,), generator=generator), torch.arange(first, first + n))


def relative_error(found, expected):
    """One number an image: the norm of the difference over the norm."""
    found, expected = found.double().flatten(1), expected.double().flatten(1)
    # At unit size, since squares of the smallest gradients underflow.
    size = expected.abs().amax(1, keepdim=True)
    return ((found - expected) / size).norm(dim=1) / (expected / size).norm(dim=1)


def sharpened(model, factor):
    """The same network with its logits multiplied."""
    head = model.net[-1]
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return model


def exact_loss_gradient(model, batch):
    """In float64, as ``Σ_{k≠y} p_k ∇(f_k − f_y)``, which does not cancel."""
    image = batch.image.double().requires_grad_()
    logits = copy.deepcopy(model).double()(image)
    label = torch.nn.functional.one_hot(batch.target, logits.shape[1]).bool()
    others = logits.detach().softmax(1).masked_fill(label, 0)
    value = (others * (logits - logits[label][:, None])).sum()
    return torch.autograd.grad(value, image)[0]


def snapshot(model):
    """All that a measurement might leave behind."""
    return {
        "modes": [m.training for m in model.modules()],
        "frozen": [p.requires_grad for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "gradients": [p.grad for p in model.parameters()],
        "state": {k: v.tolist() for k, v in model.state_dict().items()},
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "grad_enabled": torch.is_grad_enabled(),
    }


def in_an_odd_state(model):
    """In training mode, partly frozen, with dropout and a hook of the user's."""
    model.train()
    model.net[1].eval()
    model.net[0].weight.requires_grad_(False)
    model.net.insert(9, nn.Dropout(0.5))
    model.net[2].register_forward_hook(lambda *_: None)
    return model


# --- what a gradient is


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_a_linear_model_is_its_weight_row(linear, dtype):
    batch, linear = random_batch(7, 8, 5, dtype=dtype), linear.to(dtype)
    expected = linear.net[1].weight[batch.target].view(7, 3, 8, 8) / linear.std
    torch.testing.assert_close(Probe(linear, batch).gradient("true_logit"), expected.detach(), rtol=1e-7, atol=0)


@each_objective
def test_gradient_is_the_derivative_of_each_images_own_value(cnn, batch, of):
    found, model = Probe(cnn, batch).gradient(of), copy.deepcopy(cnn).double()
    image = batch.image.double()
    exact = Probe(model, Batch(image, batch.target, batch.index)).gradient(of)
    assert relative_error(found, exact).max() < 1e-5
    nudge = 1e-6 * torch.randn_like(image)
    up, down = (Probe(model, Batch(image + s * nudge, batch.target, batch.index)).value(of) for s in (1, -1))
    slope = (exact * nudge).flatten(1).sum(1)
    torch.testing.assert_close((up - down) / 2, slope, rtol=1e-4, atol=1e-12)


def test_captums_gradient_is_that_of_the_label(cnn, batch):
    probe = Probe(cnn, batch)
    saliency = gl.attribution(probe, "Saliency", abs=False)
    assert relative_error(saliency, probe.gradient("true_logit")).max() < 1e-6
    assert not batch.image.requires_grad


def test_captum_attributes_the_same_label_under_every_method(cnn, batch):
    scaled = gl.attribution(Probe(cnn, batch), "InputXGradient")
    expected = batch.image * Probe(cnn, batch).gradient("true_logit")
    assert relative_error(scaled, expected).max() < 1e-6
    with pytest.raises(UserError, match="IntegratedGradients"):
        gl.attribution(Probe(cnn, batch), "IntegratedGradient")


def test_loss_gradient_of_confident_images_keeps_float32s_precision(cnn, digits):
    model = sharpened(cnn, 4)
    sure = [i for i, p in enumerate(Probe(model, digits).logits.detach().softmax(1).amax(1)) if p == 1][:32]
    batch = Batch(digits.image[sure], Probe(model, digits).prediction[sure], digits.index[sure])
    assert len(batch) == 32
    # A probability's relative error is the absolute error of its logits, float32's of numbers up to 100 and over.
    unit = torch.finfo(torch.float32).eps * Probe(model, batch).logits.detach().abs().amax()
    error = relative_error(Probe(model, batch).gradient(), exact_loss_gradient(model, batch))
    assert error.max() < 4 * unit < 1e-4
    assert error.median() < 1e-5


def test_loss_gradient_of_random_images_keeps_float32s_precision(cnn):
    batch = random_batch(32)
    assert relative_error(Probe(cnn, batch).gradient(), exact_loss_gradient(cnn, batch)).max() < 1e-5


def test_gradient_that_float32_cannot_hold_stays_in_its_scale(cnn, batch):
    model = sharpened(cnn, 60)
    batch = Batch(batch.image, Probe(model, batch).prediction, batch.index)
    probe = Probe(model, batch)
    lost = (probe.gradient() == 0).flatten(1).all(1)
    assert lost.any()
    direction, scale = probe.scaled_gradient()
    expected = exact_loss_gradient(model, batch)
    assert (scale > 0).all()
    assert torch.equal(expected.flatten(1).any(1), scale > 0)
    # The logits themselves are only known to float32, and probabilities are their exponentials.
    assert relative_error(direction * scale.view(-1, 1, 1, 1), expected).max() < 1e-3


@each_objective
def test_scaled_gradient_is_the_gradient(cnn, batch, of):
    direction, scale = Probe(cnn, batch).scaled_gradient(of)
    assert scale.dtype == torch.float64
    assert relative_error(direction * scale.view(-1, 1, 1, 1), Probe(cnn, batch).gradient(of)).max() < 1e-7


# --- what a look says besides


def test_predictions_and_losses_are_those_of_the_logits(cnn, batch):
    probe, logits = Probe(cnn, batch), cnn(batch.image).detach().double()
    torch.testing.assert_close(probe.logits, logits.float(), rtol=1e-6, atol=1e-6)
    assert torch.equal(probe.prediction, logits.argmax(1))
    assert torch.equal(probe.correct, logits.argmax(1) == batch.target)
    probability = logits.softmax(1)
    of_label = probability.gather(1, batch.target[:, None])[:, 0]
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(probe.loss, -of_label.log(), **close)
    torch.testing.assert_close(probe.error_mass, 1 - of_label, **close)
    torch.testing.assert_close(probe.confidence, probability.amax(1), **close)
    others = logits.scatter(1, batch.target[:, None], -torch.inf).amax(1)
    torch.testing.assert_close(probe.margin, logits.gather(1, batch.target[:, None])[:, 0] - others, **close)


def test_unknown_label_is_the_prediction_and_stays_so_elsewhere(cnn, batch):
    probe = Probe(cnn, Batch(batch.image, None, batch.index))
    assert probe.correct.all()
    elsewhere = probe.at(batch.image.flip(3))
    assert torch.equal(elsewhere.target, probe.prediction)
    assert not elsewhere.correct.all()


def test_one_forward_pass_serves_all(cnn, batch):
    passes = []
    cnn.net[0].register_forward_hook(lambda *_: passes.append(1))
    probe = Probe(cnn, batch, needs=("units",))
    for of in OBJECTIVES:
        assert probe.gradient(of).shape == batch.image.shape
    assert probe.loss.shape == probe.margin.shape == (16,)
    assert probe.units()
    assert len(passes) == 1


def test_last_awaited_gradient_frees_the_graph(cnn, batch):
    passes = []
    cnn.net[0].register_forward_hook(lambda *_: passes.append(1))
    probe = Probe(cnn, batch, needs=("gradient:loss", "gradient:margin"))
    found = {of: probe.gradient(of) for of in ("margin", "loss", "margin")}
    assert len(passes) == 1
    with pytest.raises(RuntimeError, match="a second time"):
        probe.logits.sum().backward()
    found["true_logit"] = probe.gradient("true_logit")
    assert len(passes) == 2
    for of, gradient in found.items():
        assert torch.equal(gradient, Probe(cnn, batch).gradient(of))


def test_edges_are_those_of_the_images(cnn, batch):
    probe = Probe(cnn, batch)
    assert torch.equal(probe.edges("canny", sigma=2.0), gl.edges.canny(batch.image, sigma=2.0))
    assert torch.equal(probe.edges("canny:sigma=2"), probe.edges("canny", sigma=2.0))
    assert not torch.equal(probe.edges("canny"), probe.edges("canny", sigma=2.0))


def test_look_elsewhere_keeps_its_settings(cnn, batch):
    probe = Probe(cnn, batch, seed=3, needs=("units:5",))
    there = probe.at(batch.image.flip(2))
    fresh = Probe(cnn, Batch(batch.image.flip(2), batch.target, batch.index), seed=3, needs=("units:5",))
    assert torch.equal(there.gradient("sampled_logit"), fresh.gradient("sampled_logit"))
    assert torch.equal(there.units()["5"], fresh.units()["5"])
    assert (there.mode, there.seed) == ("value", 3)


def test_input_gradient_is_the_probes(cnn, batch):
    found = gl.input_gradient(cnn, batch.image, batch.target, objective="margin")
    assert torch.equal(found, Probe(cnn, batch).gradient("margin"))


# --- units


def test_units_are_spatial_means_in_forward_order(cnn, batch):
    units = Probe(cnn, batch, needs=("units",)).units()
    x, expected = (batch.image - cnn.mean) / cnn.std, {}
    for name, layer in cnn.net.named_children():
        x = layer(x)
        if isinstance(layer, nn.GELU):
            expected[name] = x.mean((2, 3)).detach()
    assert list(units) == list(expected) == ["2", "5", "8"]
    for name, values in expected.items():
        torch.testing.assert_close(units[name].detach(), values, rtol=1e-5, atol=1e-6)


def test_units_survive_folding(cnn, batch):
    units = Probe(cnn, batch, needs=("units",)).units()
    folded = cnn.folded()
    assert folded.card.folded == 3
    after = Probe(folded, batch, needs=("units",)).units()
    assert list(units) == list(after)
    for name, values in units.items():
        torch.testing.assert_close(after[name], values, rtol=1e-4, atol=1e-5)


def test_gradient_survives_folding(cnn, batch):
    assert relative_error(Probe(cnn.folded(), batch).gradient(), Probe(cnn, batch).gradient()).max() < 1e-5


def test_only_the_named_units_are_kept(cnn, batch):
    assert list(Probe(cnn, batch, needs=("units:3",)).units()) == ["3"]


def test_layer_used_twice_is_two_layers(batch):
    act = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 6, 3), act, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    units = Probe(gl.load_model(net, normalized=True, device="cpu"), batch, needs=("units",)).units()
    assert {name: values.shape[1] for name, values in units.items()} == {"1": 4, "1#1": 6}


def test_units_of_tokens_are_averaged_over_tokens(batch):
    net = nn.Sequential(nn.Flatten(2), nn.Linear(1024, 7), nn.GELU(), nn.Flatten(), nn.Linear(21, 10))
    units = Probe(gl.load_model(net, normalized=True, device="cpu"), batch, needs=("units",)).units()
    expected = net[:3](batch.image).mean(1)
    torch.testing.assert_close(units["2"], expected, rtol=1e-5, atol=1e-6)


def test_units_after_a_linear_layer_are_its_features(batch):
    channels_last = Permute([0, 2, 3, 1])
    net = nn.Sequential(channels_last, nn.Linear(3, 7), nn.GELU(), nn.Flatten(), nn.Linear(7 * 1024, 10))
    units = Probe(gl.load_model(net, normalized=True, device="cpu"), batch, needs=("units",)).units()
    torch.testing.assert_close(units["2"], net[:3](batch.image).mean((1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("needs", "message"), [((), "recorded no units"), (("units:55",), "did you mean 5")])
def test_units_that_cannot_be_had_are_refused(cnn, batch, needs, message):
    before = snapshot(cnn)
    with pytest.raises(UserError, match=message):
        Probe(cnn, batch, needs=needs).units()
    assert snapshot(cnn) == before


# --- one image does not know of the others


@each_objective
def test_gradient_does_not_depend_on_order(cnn, batch, of):
    order = torch.randperm(16)
    shuffled = Batch(batch.image[order], batch.target[order], batch.index[order])
    assert relative_error(Probe(cnn, shuffled).gradient(of), Probe(cnn, batch).gradient(of)[order]).max() < 1e-6


@each_objective
def test_gradient_does_not_depend_on_batch_mates(cnn, digits, of):
    one, other = digits[slice(0, 16)], digits[slice(8, 24)]
    assert relative_error(Probe(cnn, other).gradient(of)[:8], Probe(cnn, one).gradient(of)[8:]).max() < 1e-6


def test_sampled_class_belongs_to_the_image_and_the_seed(cnn, batch):
    # Logits near zero, so that every class is likely.
    model = sharpened(cnn, 1e-3)

    def sampled(rows, seed=0):
        chosen = Batch(batch.image[rows], batch.target[rows], batch.index[rows])
        return Probe(model, chosen, seed=seed).value("sampled_logit")

    order = torch.randperm(16)
    close = {"rtol": 0, "atol": 1e-7}
    torch.testing.assert_close(sampled(order), sampled(torch.arange(16))[order], **close)
    torch.testing.assert_close(sampled(torch.arange(5, 9)), sampled(torch.arange(16))[5:9], **close)
    assert (sampled(torch.arange(16), seed=1) - sampled(torch.arange(16))).abs().max() > 1e-5
    twin = Batch(batch.image[:1].expand(16, -1, -1, -1), batch.target, batch.index)
    assert len(Probe(model, twin).value("sampled_logit").unique()) > 4


# --- the caller's state


@pytest.mark.parametrize("mode", ["value", "leaf"])
def test_measuring_leaves_no_trace(cnn, batch, mode):
    model = in_an_odd_state(cnn) if mode == "value" else cnn
    before = snapshot(model)
    probe = Probe(model, batch, mode=mode, needs=("units",))
    assert probe.gradient().any()
    assert probe.gradient("sampled_logit").any()
    assert probe.units()
    assert snapshot(model) == before
    assert not batch.image.requires_grad
    assert batch.image.grad is None


def test_failing_model_is_left_as_it_was(cnn, batch):
    def fail(*_):
        raise RuntimeError("no memory")

    model = in_an_odd_state(cnn)
    model.net[6].register_forward_hook(fail)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="no memory"):
        _ = Probe(model, batch, needs=("units",)).logits
    assert snapshot(model) == before


def test_model_is_measured_in_evaluation_mode(cnn, batch):
    expected = Probe(cnn, batch).gradient()
    assert torch.equal(Probe(in_an_odd_state(cnn), batch).gradient(), expected)


def test_gradient_is_there_also_where_gradients_are_off(cnn, batch):
    with torch.no_grad():
        found = Probe(cnn, batch).gradient()
    assert torch.equal(found, Probe(cnn, batch).gradient())


@pytest.fixture
def _precision_restored():
    """torch's switches are global and cannot all be restored through the older ones."""
    backends = torch.backends
    gpu = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn
    owners = backends, *gpu, backends.mkldnn.matmul, backends.mkldnn.conv
    before = [o.fp32_precision for o in owners]
    yield
    torch.set_float32_matmul_precision("highest")
    for owner, value in zip(owners, before, strict=True):
        owner.fp32_precision = value


needs_switches = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9")


def switches():
    backends = torch.backends
    owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [o.fp32_precision for o in owners]


@needs_switches
@pytest.mark.usefixtures("_precision_restored")
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_shorter_matrix_products_are_off_and_come_back(precision):
    torch.set_float32_matmul_precision(precision)
    before = switches()
    with full_float32():
        assert not {"tf32", "bf16"} & set(switches())
    assert switches() == before
    assert torch.get_float32_matmul_precision() == precision


@needs_switches
@pytest.mark.usefixtures("_precision_restored")
def test_newer_precision_switches_are_obeyed_too():
    torch.backends.fp32_precision = "tf32"
    with full_float32():
        assert set(switches()) == {"ieee"}
    assert set(switches()) == {"tf32"}


def test_measuring_turns_tf32_off(cnn):
    seen = []
    cnn.net[0].register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    assert Probe(cnn, random_batch(2)).gradient().any()
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


# --- gradients to be differentiated


@pytest.fixture
def smooth():
    """A small float64 classifier of 6 × 6 images with all its derivatives."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 4))
    return gl.load_model(net, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu").double()


def penalty(model, batch, of):
    return Probe(model, batch, mode="graph").gradient(of).abs().sum()


@each_objective
@pytest.mark.parametrize("mode", ["graph", "leaf"])
def test_every_mode_has_the_same_gradient(cnn, batch, mode, of):
    probe = Probe(cnn, batch, mode=mode)
    assert relative_error(probe.gradient(of).detach(), Probe(cnn, batch).gradient(of)).max() < 1e-5


@pytest.mark.parametrize("of", ["loss", "sampled_logit", "margin", "logsumexp"])
def test_graph_differentiates_a_gradients_norm_by_the_parameters(smooth, of):
    batch = random_batch(5, 6, 4, dtype=torch.float64)
    penalty(smooth, batch, of).backward()
    for parameter in smooth.parameters():
        found = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        flat = parameter.data.view(-1)
        for k in range(0, len(flat), max(1, len(flat) // 6)):
            values = []
            for step in (1e-6, -2e-6):
                flat[k] += step
                values.append(penalty(smooth, batch, of).item())
            flat[k] += 1e-6
            np.testing.assert_allclose(found.view(-1)[k], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_loss_in_a_graph_reaches_the_parameters(smooth):
    batch = random_batch(5, 6, 4, dtype=torch.float64)
    Probe(smooth, batch, mode="graph").loss.mean().backward()
    found = smooth.net[3].weight.grad.clone()
    smooth.zero_grad()
    nn.functional.cross_entropy(smooth(batch.image), batch.target).backward()
    torch.testing.assert_close(found, smooth.net[3].weight.grad)


def test_leaf_receives_the_direction_of_a_penalty(cnn, batch):
    probe = Probe(cnn, batch, mode="leaf")
    gradient = probe.gradient()
    assert gradient.is_leaf
    assert gradient.requires_grad
    (gradient**2).sum().backward()
    torch.testing.assert_close(gradient.grad, 2 * gradient.detach())
    assert all(p.grad is None for p in cnn.parameters())
    assert probe.gradient() is gradient


def test_unknown_mode_and_objective_are_refused(cnn, batch):
    with pytest.raises(UserError, match="unknown probe mode 'train'; there are: value, graph, leaf"):
        Probe(cnn, batch, mode="train")
    with pytest.raises(UserError, match="did you mean true_logit"):
        Probe(cnn, batch).gradient("true_logits")


def test_classifier_is_its_network_behind_a_normalisation(cnn, batch):
    assert isinstance(cnn, Classifier)
    torch.testing.assert_close(cnn(batch.image), cnn.net((batch.image - cnn.mean) / cnn.std), rtol=0, atol=0)
