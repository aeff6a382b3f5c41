"""Names and files become classifiers; what is in doubt is refused in one line."""

from __future__ import annotations

import argparse
import json
import sys

import pytest
import timm
import torch
from refusals import refused
from torch import nn

from gradlens import Preprocess, load_model
from gradlens.models import read_checkpoint, save_checkpoint
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def images(side=32, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def filled_state(value, net=None):
    """A state dict whose first weight tells which one it is."""
    state = (net or digits_cnn()).state_dict()
    return {k: torch.full_like(v, value) if k == "0.weight" else v for k, v in state.items()}


@pytest.fixture
def timm_file(tmp_path):
    """What timm's train.py leaves behind, in miniature: 1 everywhere in raw weights' bias, 2 in EMA."""

    def write(ema=True, **args):
        state = timm.create_model("test_resnet", num_classes=7).state_dict()
        content = {
            "epoch": 3,
            "arch": "resnet",
            "args": argparse.Namespace(**{"model": "test_resnet", "num_classes": 7, "mean": None, "std": None, **args}),
            "state_dict": {**state, "fc.bias": torch.ones(7)},
            "metric": 61.5,
        }
        if ema:
            content["state_dict_ema"] = {
                f"module.{k}": v for k, v in {**state, "fc.bias": torch.full((7,), 2.0)}.items()
            }
        torch.save(content, tmp_path / "model_best.pth.tar")
        return tmp_path / "model_best.pth.tar"

    return write


def test_a_random_timm_model_is_the_same_twice_and_leaves_the_callers_random_numbers():
    before = torch.get_rng_state()
    one = load_model("timm:test_resnet", weights="random")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    two = load_model("timm:test_resnet", weights="random")
    assert torch.equal(one(images()), two(images()))
    assert one.card.weights == "random"
    assert one.card.preprocess.size == 160
    assert one.card.mean == timm.get_pretrained_cfg("test_resnet").mean


def test_a_callable_of_a_module_is_built_alike_twice():
    one = load_model("gradlens.models._zoo:digits_cnn", mean=MEAN, std=STD)
    torch.rand(3)
    two = load_model("gradlens.models._zoo:digits_cnn", mean=MEAN, std=STD)
    assert torch.equal(one(images()), two(images()))
    assert one.card.num_classes == 10


def test_a_callable_of_a_file_is_built_without_replacing_a_module_of_that_name(tmp_path):
    (tmp_path / "json.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))\n"
    )
    known = sys.modules["json"]
    model = load_model(f"{tmp_path / 'json.py'}:net", normalized=True)
    assert model(images(2)).shape == (2, 4)
    assert sys.modules["json"] is known


@pytest.mark.parametrize(
    "given",
    [{}, {"mean": MEAN}, {"std": STD}, {"normalized": False}],
    ids=["nothing", "mean", "std", "normalized=False"],
)
def test_a_module_of_unknown_normalisation_is_refused(given):
    with refused("Sequential", "--mean", "--std", "--normalized"):
        load_model(digits_cnn(), **given)


def test_a_contradictory_normalisation_is_refused():
    with refused("drop mean and std"):
        load_model(digits_cnn(), mean=MEAN, std=STD, normalized=True)
    with refused("positive std"):
        load_model(digits_cnn(), mean=MEAN, std=(1.0, 0.0, 1.0))


@pytest.mark.parametrize(("weights", "used", "bias"), [("raw", "raw", 1.0), ("ema", "ema", 2.0), ("auto", "ema", 2.0)])
def test_raw_and_ema_weights_of_a_timm_checkpoint_are_told_apart(timm_file, weights, used, bias):
    card = (model := load_model(timm_file(), weights=weights)).card
    assert model.net.fc.bias.tolist() == [bias] * 7
    assert (card.weights, card.arch, card.num_classes) == (used, "test_resnet", 7)
    sets = {"raw": "state_dict (raw)", "ema": "state_dict_ema (ema)"}
    other = sets["raw" if used == "ema" else "ema"]
    assert card.notes == (f"the file holds several weights: {sets[used]} used, {other} not",)
    assert card.mean == timm.get_pretrained_cfg("test_resnet").mean
    assert len(card.sha256) == 64


def test_a_timm_checkpoint_without_ema_uses_its_raw_weights_without_a_note(timm_file):
    model = load_model(timm_file(ema=False))
    assert model.net.fc.bias.tolist() == [1.0] * 7
    assert (model.card.weights, model.card.notes) == ("raw", ())
    with refused("no ema weights", "--weights auto"):
        load_model(timm_file(ema=False), weights="ema")


def test_the_normalisation_that_timm_was_trained_with_wins_over_the_architectures(timm_file):
    assert load_model(timm_file(mean=MEAN, std=STD)).card.mean == MEAN


def test_a_bare_state_dict_opens_with_an_architecture_and_without_training_prefixes(tmp_path):
    state = filled_state(7.0)
    torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, tmp_path / "w.pt")
    model = load_model(tmp_path / "w.pt", arch="digits_cnn", mean=MEAN, std=STD)
    assert bool((model.net[0].weight == 7).all())
    assert read_checkpoint(tmp_path / "w.pt").stripped == ("module.", "_orig_mod.")


def test_our_own_checkpoint_opens_without_flags(tmp_path):
    described = {
        "activation": "softplus",
        "mean": MEAN,
        "std": STD,
        "class_names": tuple("abcdefg"),
        "preprocess": Preprocess(size=40, crop_pct=0.9, interpolation="bilinear", crop_mode="squash"),
        "arch_kwargs": {"width": 8},
        "ema": filled_state(2.0, digits_cnn(7, width=8)),
    }
    save_checkpoint(tmp_path / "own.pt", filled_state(1.0, digits_cnn(7, width=8)), arch="digits_cnn", **described)
    model, raw = load_model(tmp_path / "own.pt"), load_model(tmp_path / "own.pt", weights="raw")
    card = model.card
    assert (card.mean, card.std, card.class_names) == (MEAN, STD, tuple("abcdefg"))
    assert (card.activation, card.num_classes, card.preprocess) == ("softplus", 7, described["preprocess"])
    assert sum(isinstance(m, nn.Softplus) for m in model.modules()) == 3
    assert bool((model.net[0].weight == 2).all())
    assert bool((raw.net[0].weight == 1).all())


def test_the_card_keeps_who_said_what(timm_file):
    asked = {"preprocess": {"img_size": 64}, "arch": "test_resnet:global_pool=max"}
    model = load_model(timm_file(crop_pct=1.0, mean=MEAN, std=STD), **asked)
    by = {name: (one.rank.name, one.value) for name, one in model.card.stated.items()}
    assert (by["architecture"], by["global_pool"]) == (("USER", "test_resnet:global_pool=max"), ("USER", "max"))
    assert (by["img_size"], by["crop_pct"], by["mean"]) == (("USER", 64), ("FILE", 1.0), ("FILE", MEAN))
    assert (by["interpolation"], by["num_classes"]) == (("DEFAULT", "bilinear"), ("FILE", 7))
    assert by["weights"] == ("DEFAULT", "ema")
    assert model.card.preprocess == Preprocess(64, 1.0, "bilinear")
    assert "interpolation bilinear (timm's test_resnet" in model.card.inferred
    assert "crop" not in model.card.inferred
    kept = json.loads(json.dumps(model.provenance()))["stated"]["crop_pct"]
    assert kept == {"value": 1.0, "by": "file", "where": "its file"}


def test_what_was_stated_opens_the_same_model_again(timm_file):
    asked = {"preprocess": Preprocess(48, 1.0, "nearest"), "arch_kwargs": {"global_pool": "max"}}
    one = load_model(timm_file(), **asked)
    two = load_model(**json.loads(json.dumps(one.card.options)))
    assert torch.equal(one(images()), two(images()))
    assert one.card.preprocess == two.card.preprocess == asked["preprocess"]
    assert not torch.equal(one(images()), load_model(timm_file())(images()))


def test_a_part_of_preprocessing_that_is_none_is_refused(timm_file):
    with refused("'crop'", "crop_pct"):
        load_model(timm_file(), preprocess={"crop": 0.9})
    with refused("cubic", "bicubic"):
        load_model(timm_file(), preprocess={"interpolation": "cubic"})
    with refused("--img-size"):
        load_model(digits_cnn(), normalized=True, preprocess={"crop_pct": 1.0})


def test_a_file_may_be_called_as_lightning_calls_it(tmp_path):
    torch.save({"state_dict": digits_cnn().state_dict()}, tmp_path / "epoch=9-step=100.ckpt")
    model = load_model(tmp_path / "epoch=9-step=100.ckpt", arch="digits_cnn", mean=MEAN, std=STD)
    assert model.card.name == "epoch=9-step=100"


def test_a_saved_activation_replaces_every_other_kind(tmp_path):
    (tmp_path / "two.py").write_text(
        "from torch import nn\ndef net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU())\n"
    )
    arch = f"{tmp_path / 'two.py'}:net"
    state = load_model(arch, normalized=True).net.state_dict()
    save_checkpoint(tmp_path / "own.pt", state, arch=arch, activation="gelu", mean=MEAN, std=STD)
    assert load_model(tmp_path / "own.pt", arch=arch).card.activation == "gelu"


def test_an_activation_asked_for_is_swapped_in_and_recorded(tmp_path):
    torch.save(digits_cnn().state_dict(), tmp_path / "w.pt")
    relu = load_model(tmp_path / "w.pt", arch="digits_cnn", activation="relu", mean=MEAN, std=STD)
    assert sum(isinstance(m, nn.ReLU) for m in relu.modules()) == 3
    assert relu.card.activation == "relu"
    assert relu.card.notes == ("3 activations swapped for relu",)
    assert relu.card.options["activation"] == "relu"
    assert load_model(tmp_path / "w.pt", arch="digits_cnn", mean=MEAN, std=STD).card.activation == "gelu"


def test_the_activation_is_swapped_before_the_weights_are_loaded(tmp_path, monkeypatch):
    torch.save(digits_cnn().state_dict(), tmp_path / "w.pt")
    seen = []
    real = nn.Module.load_state_dict

    def spy(self, *args, **kwargs):
        seen.extend(type(m).__name__ for m in self.modules())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "load_state_dict", spy)
    load_model(tmp_path / "w.pt", arch="digits_cnn", activation="mish", mean=MEAN, std=STD)
    assert seen.count("Mish") == 3
    assert "GELU" not in seen


def test_weights_of_another_architecture_are_refused_with_counts(tmp_path):
    torch.save(digits_cnn().state_dict(), tmp_path / "w.pt")
    # But for the counters of BatchNorm, without which a file is complete.
    wanted = sum("num_batches" not in key for key in timm.create_model("test_resnet").state_dict())
    with refused(f"{wanted} keys missing (such as 'conv1", "20 unexpected (such as '0.weight')", "--arch"):
        load_model(tmp_path / "w.pt", arch="test_resnet")


def test_weights_of_another_number_of_classes_are_refused(tmp_path):
    torch.save(digits_cnn(7).state_dict(), tmp_path / "w.pt")
    with refused("(7, 1024)", "(10, 1024)", "--num-classes"):
        load_model(tmp_path / "w.pt", arch="digits_cnn", num_classes=10, mean=MEAN, std=STD)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load_model("timm:resnet5O", weights="random"), ["'resnet5O'", "did you mean", "resnet50"]),
        (lambda: load_model("timm:test_resnet", weights="random", activation="gelo"), ["'gelo'", "gelu"]),
        (lambda: load_model("timm:test_resnet", weights="rwa"), ["'rwa'", "raw"]),
        (lambda: load_model("timm:test_resnet", weights="random", device="cuda:99"), ["cuda:99", "cannot be used"]),
        (lambda: load_model("timm:test_resnet", weights="random", device="gpu"), ["--device gpu", "cannot be used"]),
        (lambda: load_model("no_such_module:net"), ["no_such_module", "module:callable"]),
        (lambda: load_model("gradlens.models._zoo:digits_cmm"), ["digits_cmm", "module:callable"]),
        (lambda: load_model("json:loads"), ["json:loads", "module:callable"]),
        (lambda: load_model("builtins:dict"), ["returned a dict", "nn.Module"]),
        (lambda: load_model(":net"), ["':net'", "module:callable"]),
    ],
    ids=["arch", "activation", "weights", "cuda", "device", "module", "attribute", "arguments", "type", "unnamed"],
)
def test_a_wrong_name_is_refused_with_what_would_be_right(call, words):
    with refused(*words):
        call()


def test_a_file_with_a_syntax_error_is_refused(tmp_path):
    (tmp_path / "net.py").write_text("def net(:\n")
    with refused("net.py:net", "SyntaxError"):
        load_model(f"{tmp_path / 'net.py'}:net", normalized=True)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    save_checkpoint(tmp_path / "own.pt", filled_state(1.0), arch="digits_cnn", mean=MEAN, std=STD)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path / "own.pt", filled_state(2.0), arch=lambda: None)
    assert load_model(tmp_path / "own.pt").net[0].weight.max() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["own.pt"]
