"""What a file is and makes is told in words, also where something is missing."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import torchvision
from layouts import ARCH, CLASSES, LAYOUTS, MEAN, STD, WITH_ALL, channels, network, under

from gradlens import load_model
from gradlens.cli.main import main
from gradlens.models import describe, save_checkpoint
from gradlens.models._proposals import _candidates, proposals, shapes
from gradlens.models._zoo import ZOO

RAW, AVERAGE = network(1), network(2)


def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def logits_of(net, mean=MEAN, std=STD):
    """What a network says of images that are normalised exactly once, without any code of ours."""
    with torch.no_grad():
        return net((images() - channels(mean)) / channels(std))


def logits(path, **options):
    with torch.no_grad():
        return load_model(path, device="cpu", **options)(images())


def written(name, folder):
    return LAYOUTS[name].write(folder, RAW, AVERAGE)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_described(name, tmp_path):
    path, options = written(name, tmp_path), LAYOUTS[name].options
    facts = describe(str(path), lambda: load_model(path, **options), options.get("trust_pickle", False))
    assert facts["layout"]
    assert len(facts["sha256"]) == 64
    assert (facts["classes"], facts["activation"]) == (CLASSES, "gelu")
    assert facts["mean"] == MEAN
    unmade = describe(str(path), lambda: load_model(path, arch="test_resnet"), True)
    assert "not built" in unmade["model"]


INSIDE = """
import torch
from gradlens.models._zoo import digits_cnn
from torch import nn

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = digits_cnn(3, width=1)
        self.register_buffer("mu", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sigma", torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return self.model((x - self.mu) / self.sigma)
"""


@pytest.fixture
def inside(tmp_path):
    """A network that normalises inside, and the file of one, wrapped by DistributedDataParallel."""
    (tmp_path / "inside.py").write_text(INSIDE)
    state = {"mu": channels(MEAN), "sigma": channels(STD), **under("model.", RAW.state_dict())}
    torch.save(under("module.", state), tmp_path / "w")
    return tmp_path / "w", f"{tmp_path / 'inside.py'}:Inside"


def test_info_says_whether_the_normalisation_is_inside(inside):
    path, arch = inside
    assert describe(str(path), lambda: load_model(path, arch=arch))["normalised"] == "inside the network"
    assert describe(str(path), lambda: load_model(path, arch=ARCH))["normalised"] == "outside, once"


def test_a_wrong_activation_differs_by_value_and_info_says_the_file_cannot_tell(tmp_path):
    path = written("state dict", tmp_path)
    assert not torch.allclose(logits(path, activation="relu", **WITH_ALL), logits_of(RAW), atol=1e-2)
    assert torch.equal(logits(path, activation="gelu", **WITH_ALL), logits_of(RAW))
    facts = describe(str(path), lambda: load_model(path, **WITH_ALL))
    assert "relu" in facts["activation_is_open"]
    assert "cannot tell" in facts["activation_is_open"]
    assert "--activation decides" in facts["activation_is_open"]
    settled = describe(str(path), lambda: load_model(path, activation="relu", **WITH_ALL))
    assert "activation_is_open" not in settled


def test_an_activation_that_the_file_states_is_not_open(tmp_path):
    described = {"arch_kwargs": {"width": 1}, "mean": MEAN, "std": STD, "activation": "gelu"}
    save_checkpoint(tmp_path / "w", RAW.state_dict(), arch="digits_cnn", **described)
    assert "activation_is_open" not in describe(str(tmp_path / "w"), lambda: load_model(tmp_path / "w"))


def test_info_of_a_resnet_names_its_gelu_twin(tmp_path):
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    torch.save(state, tmp_path / "w")
    facts = describe(str(tmp_path / "w"), lambda: load_model(tmp_path / "w", arch="test_resnet"))
    assert "gelu" in facts["activation_is_open"]
    assert torch.load(tmp_path / "w").keys() == state.keys()
    load_model(tmp_path / "w", arch="test_resnet", activation="gelu")


def test_info_says_who_stated_what_and_names_every_set_of_weights(tmp_path):
    sets = {"model": network(1).state_dict(), "ema": network(2).state_dict()}
    torch.save(sets, tmp_path / "w")
    facts = describe(str(tmp_path / "w"), lambda: load_model(tmp_path / "w", **WITH_ALL))
    assert facts["weights_held"] == "model (raw, 20 tensors) and ema (ema, 20 tensors)"
    assert "mean 0.5 0.4 0.3" in facts["stated_by_you"]
    assert facts["stated_by_the_file"] == "num classes 3 (its file)"
    assert facts["stated_by_nobody"] == "weights ema (ema); activation gelu (digits_cnn)"
    assert "model (raw) not" in facts["notes"]


@pytest.mark.parametrize(
    ("make", "fitting"),
    [
        (lambda: torchvision.models.resnet18(num_classes=3), ["resnet18", "torchvision:resnet18"]),
        (lambda: timm.create_model("convnext_atto", num_classes=3), ["convnext_atto"]),
        (ZOO["preactresnet18"], ["preactresnet18"]),
        (lambda: timm.create_model("test_resnet", num_classes=3), ["test_resnet"]),
        (lambda: timm.create_model("swin_small_patch4_window7_224", num_classes=3), ["swin_small_patch4_window7_224"]),
        (lambda: torchvision.models.swin_t(num_classes=3), ["torchvision:swin_t"]),
        (lambda: timm.create_model("vit_small_patch16_224", num_classes=3), ["vit_small_patch16_224"]),
    ],
)
def test_info_proposes_architectures_that_fit(make, fitting):
    with torch.device("meta"):
        state = make().state_dict()
    assert proposals(state, most=len(fitting), seconds=60) == fitting
    state["strange"] = torch.ones(1)
    assert proposals(state, seconds=0.1) == []


def test_the_likeliest_architecture_is_built_first():
    with torch.device("meta"):
        state = timm.create_model("swin_base_patch4_window7_224", num_classes=3).state_dict()
    names = [name for name, _ in _candidates(shapes(state)) if name not in ZOO]
    assert names[0] == "swin_base_patch4_window7_224"
    assert len(names) > 5


def test_info_describes_what_is_missing(tmp_path):
    path = written("RobustBench normalize. and backbone.", tmp_path)
    facts = describe(str(path), lambda: load_model(path))
    assert facts["names_its_normalisation"] == "in its weights, as normalize.mean and normalize.std"
    assert facts["prefixes_stripped"] == "module. backbone."
    assert facts["names_its_architecture"] == "no: give --arch"
    assert "--arch" in facts["model"]


def run(*words):
    return main([str(w) for w in words])


def test_info_explains_a_file_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    path = written("MadryLab with its settings pickled", tmp_path)
    assert run("info", path, "--arch", ARCH) == 2
    assert "layouts.Settings" in capsys.readouterr().err
    assert run("info", path, "--arch", ARCH, "--trust-pickle", "--json") == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["layout"] == "MadryLab checkpoint"
    assert facts["names_its_normalisation"] == "in its weights, as normalizer.new_mean and normalizer.new_std"
    assert facts["prefixes_stripped"] == "module. model."
    assert facts["architecture"] == ARCH
