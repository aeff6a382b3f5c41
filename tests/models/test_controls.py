"""Untrained twins: what is random in them, what stays, and that they open again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from plain_numbers import trained
from torch import nn

import gradlens as gl
from gradlens import load_model
from gradlens.analysis.doubts import preflight
from gradlens.models import Classifier, random_twin
from gradlens.models._zoo import ZOO, digits_cnn
from gradlens.models.fresh import open_branches, reinitialise

HALF = (0.5, 0.5, 0.5)
SMALL = {"digits_cnn": {"width": 2}, "wrn_28_10": {"depth": 10, "widen": 1}}
ZOO_NAMES = [
    "digits_cnn:width=2",
    "resnet20_cifar:num_classes=9",
    "preactresnet18:num_classes=9",
    "wrn_28_10:depth=10,widen=1",
]
BY_NAME = [*ZOO_NAMES, "timm:resnet18", "timm:vit_tiny_patch16_224"]


def as_module(net, **options):
    return load_model(net, mean=HALF, std=HALF, device="cpu", **options)


def zoo(name):
    return as_module(trained(ZOO[name](**SMALL.get(name, {}))))


def by_name(spec):
    """Opened by its name, as a user does, and then trained."""
    given = {} if spec.startswith("timm:") else {"mean": HALF, "std": HALF}
    model = load_model(spec, weights="random:seed=5", device="cpu", **given)
    model.card = replace(model.card, name="own", weights="raw")
    trained(model.net)
    return model


@pytest.fixture(scope="module")
def resnet():
    return by_name("timm:resnet18")


@pytest.fixture(scope="module")
def vit():
    return by_name("timm:test_vit2")


def states(*models):
    return [model.net.state_dict() for model in models]


def assert_equal(a, b, keys=None):
    assert [k for k in (a if keys is None else keys) if not torch.equal(a[k], b[k])] == []


def matrices(state):
    return [k for k, v in state.items() if v.ndim > 1 and v.is_floating_point()]


# What is random


@pytest.mark.parametrize("spec", BY_NAME)
def test_a_twin_differs_in_every_weight_matrix(spec):
    model = by_name(spec)
    before, twin = {k: v.clone() for k, v in model.net.state_dict().items()}, random_twin(model)
    state = twin.net.state_dict()
    assert state.keys() == before.keys()
    assert [k for k in matrices(before) if torch.equal(before[k], state[k])] == []
    # What a matrix holds is drawn, not shifted.
    assert max(abs(_correlation(before[k], state[k])) for k in matrices(before) if before[k].numel() > 1000) < 0.5
    assert_equal(before, model.net.state_dict())
    assert (twin.card.name, twin.card.weights) == ("own-random", "random")
    kept = ("mean", "std", "preprocess", "arch", "activation", "num_classes")
    assert [k for k in kept if getattr(twin.card, k) != getattr(model.card, k)] == []
    assert not twin.training


def _correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("name", ZOO)
def test_a_bare_module_is_reset_as_a_fresh_one_is_drawn(name):
    """torch's modules draw in ``reset_parameters`` what they draw when they are made."""
    model = zoo(name)
    twin, state = random_twin(model, 3), model.net.state_dict()
    fresh = ZOO[name](**SMALL.get(name, {})).state_dict()
    for key, value in twin.net.state_dict().items():
        assert not (key in matrices(state) and torch.equal(value, state[key])), key
        if "running" in key or "tracked" in key:
            assert torch.equal(value, fresh[key]), key
        if value.numel() > 500:
            assert float(value.std()) == pytest.approx(float(fresh[key].std()), rel=0.2), key
    assert twin.card.notes == ("fresh weights, seed 3",)


def test_what_cannot_be_reset_stays_and_is_named():
    model = as_module(trained(timm.create_model("vit_tiny_patch16_224", depth=1)))
    twin = random_twin(model)
    (kept,) = [note for note in twin.card.notes if "no reset_parameters" in note]
    assert "cls_token, pos_embed" in kept
    assert "blocks" not in kept
    ours, theirs = states(twin, model)
    assert_equal(ours, theirs, ["cls_token", "pos_embed"])
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def test_torchs_attention_and_a_nested_position_embedding_are_handled():
    net = torchvision.models.VisionTransformer(32, 16, 3, 2, 8, 16, num_classes=5)
    model = as_module(trained(net))
    ours, theirs = states(random_twin(model), model)
    same = [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])]
    assert same == ["class_token", "encoder.pos_embedding"]


def test_buffers_that_are_no_statistic_stay():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sigma", torch.tensor([0.2, 0.3, 0.4]))
            self.net = digits_cnn(width=1)

        def forward(self, x):
            return self.net(x / self.sigma.view(1, 3, 1, 1))

    twin = random_twin(load_model(trained(Inside()), normalized=True, device="cpu"))
    assert twin.net.sigma.tolist() != pytest.approx([0.2, 0.3, 0.4])
    assert "sigma" in twin.card.notes[1]
    assert float(twin.net.net[1].running_mean.abs().max()) == 0


NORMALISING = """
import torch
from torch import nn
from gradlens.models._zoo import digits_cnn

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mu", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sigma", torch.zeros(1, 3, 1, 1))
        self.net = digits_cnn(width=1)

    def forward(self, x):
        return self.net((x - self.mu) / self.sigma)

def already_trained():
    net = digits_cnn(width=1)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        for p in net.parameters():
            p.data.normal_()
    return net
"""


def test_a_twin_keeps_the_normalisation_that_only_the_file_knows(tmp_path):
    (tmp_path / "net.py").write_text(NORMALISING)
    state = {f"net.{k}": v for k, v in trained(digits_cnn(width=1)).state_dict().items()}
    torch.save({"mu": torch.full((1, 3, 1, 1), 0.4), "sigma": torch.full((1, 3, 1, 1), 0.2), **state}, tmp_path / "w")
    model = load_model(tmp_path / "w", arch=f"{tmp_path / 'net.py'}:Inside", device="cpu")
    twin = random_twin(model)
    assert float(twin.net.sigma[0, 0]) == pytest.approx(0.2)
    assert twin(torch.rand(2, 3, 32, 32)).isfinite().all()


def test_weights_that_come_with_the_users_code_are_not_taken_for_random(tmp_path):
    (tmp_path / "net.py").write_text(NORMALISING)
    model = load_model(f"{tmp_path / 'net.py'}:already_trained", mean=HALF, std=HALF, device="cpu")
    ours, theirs = states(random_twin(model), model)
    assert [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])] == []


def test_a_pickled_module_has_a_twin(tmp_path):
    torch.save(trained(digits_cnn(width=1)), tmp_path / "whole")
    given = {"mean": HALF, "std": HALF, "trust_pickle": True, "device": "cpu"}
    model, twin = (load_model(tmp_path / "whole", weights=w, **given) for w in ("auto", "random"))
    ours, theirs = states(twin, model)
    assert [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])] == []
    assert_equal(ours, random_twin(model).net.state_dict())


@pytest.mark.parametrize("seed", range(4))
def test_a_twin_is_not_what_a_training_with_its_seed_began_from(seed):
    torch.manual_seed(seed)
    begun = digits_cnn(width=2)
    for twin in (random_twin(as_module(begun), seed), random_twin(by_name(BY_NAME[0]), seed)):
        assert not torch.equal(twin.net[0].weight.flatten()[:10], begun[0].weight.flatten()[:10])


def test_the_same_seed_is_the_same_twin_and_the_callers_random_numbers_go_on(cnn):
    before = torch.get_rng_state()
    one, two, other = random_twin(cnn, 1), random_twin(cnn, 1), random_twin(cnn, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert_equal(*states(one, two))
    assert not torch.equal(one.net[0].weight, other.net[0].weight)


def test_a_network_changed_after_loading_is_copied(resnet):
    changed = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), resnet.card)
    twin = random_twin(changed)
    assert twin.net[1].weight.shape == (3, 12)
    assert twin.card.options is None


def test_a_twin_has_its_models_precision():
    twin = random_twin(by_name("digits_cnn:width=2").double())
    assert {t.dtype for t in twin.parameters()} == {torch.float64}


class Scaled(nn.Module):
    """Every kind of scale that starts at zero or close to it, and what starts there for other reasons."""

    def __init__(self):
        super().__init__()
        self.norm, self.gamma = nn.BatchNorm2d(3), nn.Parameter(torch.zeros(3))
        self.skipinit_gain, self.bias = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.zeros(3))
        self.table, self.layer_scale = nn.Parameter(torch.zeros(3, 3)), nn.Parameter(torch.full((3,), 1e-5))
        nn.init.zeros_(self.norm.weight)


def test_scales_that_start_at_zero_are_one_in_a_twin_and_said():
    net = Scaled()
    assert open_branches(net) == ("4 scales that start at or near zero set to one, such as gamma",)
    ones = [n for n, p in net.named_parameters() if bool((p == 1).all())]
    assert ones == ["gamma", "skipinit_gain", "layer_scale", "norm.weight"]
    assert not net.bias.any()
    assert not net.table.any()
    assert not net.norm.bias.any()
    assert open_branches(net) == ()


def test_no_weight_of_a_residual_twin_is_without_a_gradient(resnet):
    twin = random_twin(resnet)
    assert "8 scales that start at or near zero set to one, such as layer1.0.bn2.weight" in twin.card.notes
    twin(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in twin.net.named_parameters() if p.ndim == 4 and not p.grad.any()] == []


def test_a_reset_that_changes_nothing_is_noticed():
    class Stubborn(nn.Linear):
        def reset_parameters(self):
            pass

    net = nn.Sequential(Stubborn(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(6.0).view(2, 3))
        net[0].bias.fill_(0)
    assert reinitialise(net, 0) == ("no reset_parameters for 0.weight, which stay as they were",)


# What they predict


def top1(model, batch):
    with torch.no_grad():
        return float((model(batch.image).argmax(1) == batch.target).double().mean())


def test_predictions_go_to_chance(cnn):
    """A random readout of good features is right by luck of the draw, so many twins are averaged."""
    batch = gl.load_data("digits").batch(range(150))
    found = np.array([top1(random_twin(cnn, seed), batch) for seed in range(32)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert top1(cnn, batch) > 0.8
    assert abs(found.mean() - 0.1) < 3.5 * error, (found.mean(), error)
    assert found.max() < 0.5


def test_controls_are_never_suspicious(cnn):
    data = gl.load_data("digits")
    assert preflight(random_twin(cnn), data, (50.0, 1.0), 64) is None
    assert "50 ± 1 % was expected" in preflight(cnn, data, (50.0, 1.0), 64)
    untrained = as_module(digits_cnn(width=1))
    assert "chance" in preflight(untrained, data, None, 64)


def test_a_twin_does_not_claim_what_was_published_of_its_model(cnn):
    shown = {"label": "robust", "group": "a", "color": "red", "published_top1": 60}
    cnn.card = replace(cnn.card, name="robust", display=shown)
    assert random_twin(cnn).card.display == {"label": "robust-random", "group": "a"}
