"""One forward pass says logits, losses, predictions and units, and leaves the model as it was."""

import numpy as np
import pytest
import torch
from gradients import random_batch, sharpened
from torch import nn
from torchvision.ops import Permute

import gradlens as gl
from gradlens.core.registry import objective
from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier
from gradlens.probes.probe import Probe

OBJECTIVES = list(objective)


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


def test_measuring_turns_tf32_off(cnn):
    seen = []
    cnn.net[0].register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    assert Probe(cnn, random_batch(2)).gradient().any()
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


def test_unknown_mode_and_objective_are_refused(cnn, batch):
    with pytest.raises(UserError, match="unknown probe mode 'train'; there are: value, graph, leaf"):
        Probe(cnn, batch, mode="train")
    with pytest.raises(UserError, match="did you mean true_logit"):
        Probe(cnn, batch).gradient("true_logits")


def test_classifier_is_its_network_behind_a_normalisation(cnn, batch):
    assert isinstance(cnn, Classifier)
    torch.testing.assert_close(cnn(batch.image), cnn.net((batch.image - cnn.mean) / cnn.std), rtol=0, atol=0)
