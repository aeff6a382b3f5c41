"""Architectures are built by name: torchvision's, the Hub's, the zoo's; wrong arguments are named."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from layouts import MEAN, STD, channels, network
from refusals import refused
from torch import nn

from gradlens import load_model
from gradlens.models import save_checkpoint
from gradlens.models._zoo import ZOO
from gradlens.models.architectures import literal

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


def test_arguments_of_a_file_that_do_not_fit_its_architecture_are_named(tmp_path):
    save_checkpoint(tmp_path / "w", RAW.state_dict(), arch="digits_cnn", arch_kwargs={"breadth": 1})
    with refused("breadth", "--arch"):
        load_model(tmp_path / "w")
    with refused("wdth", "width"):
        load_model(tmp_path / "w", arch="digits_cnn:wdth=1")


def test_torchvision_brings_its_preprocessing_and_normalisation():
    model = load_model("torchvision:squeezenet1_1", weights="random", num_classes=4)
    assert (model.card.name, model.card.weights) == ("squeezenet1_1-random", "random")
    assert model.card.mean == (0.485, 0.456, 0.406)
    assert (model.card.preprocess.size, model.card.preprocess.crop_pct) == (224, 0.875)
    assert model.card.preprocess.interpolation == "bilinear"
    assert model(images()[:1].repeat(1, 1, 2, 2)).shape == (1, 4)
    with refused("squeezenet1_9", "squeezenet1_1"):
        load_model("torchvision:squeezenet1_9")


def test_torchvision_builds_for_a_checkpoint_too(tmp_path):
    net = load_model("torchvision:squeezenet1_1", weights="random").net
    torch.save(net.state_dict(), tmp_path / "w")
    card = load_model(tmp_path / "w", arch="torchvision:squeezenet1_1").card
    assert (card.arch, card.mean) == ("torchvision:squeezenet1_1", (0.485, 0.456, 0.406))


def test_torchvisions_own_files_are_resized_as_they_were_trained(tmp_path):
    state = torchvision.models.resnet50(num_classes=3).state_dict()
    for name, resized in (("resnet50-0676ba61.pth", 256), ("mine.pth", 232)):
        torch.save(state, tmp_path / name)
        card = load_model(tmp_path / name, arch="torchvision:resnet50").card
        assert round(224 / card.preprocess.crop_pct) == resized
    assert "IMAGENET1K_V2; IMAGENET1K_V1 resizes to 256" in card.notes[0]


def test_googlenet_says_that_it_transforms_its_input_and_can_be_told_not_to(tmp_path):
    torch.save(torchvision.models.googlenet(aux_logits=False, init_weights=False).state_dict(), tmp_path / "w")
    model = load_model(tmp_path / "w", arch="torchvision:googlenet")
    assert model.net.transform_input
    assert "transform_input=false" in model.card.notes[0]
    plain = load_model(tmp_path / "w", arch="torchvision:googlenet:transform_input=false")
    assert (plain.net.transform_input, plain.card.notes) == (False, ())


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1e-3", 1e-3), ("true", True), ("None", None), ("max", "max"), (2, 2)]
)
def test_arguments_have_the_type_they_look_like(text, value):
    assert literal(text) == value
    assert type(literal(text)) is type(value)


@pytest.mark.parametrize("arch", ["test_resnet:window=7", "timm:test_resnet:window=7", "torchvision:resnet18:window=7"])
def test_an_argument_that_an_architecture_lacks_is_named(arch, tmp_path):
    torch.save({"state_dict": RAW.state_dict()}, tmp_path / "w")
    with refused("window", "resnet", "--arch"):
        load_model(tmp_path / "w", arch=arch)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub that holds one repository, and no way to any other."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--lab--tiny" / "snapshots" / ("0" * 40)
    (tmp_path / "models--lab--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--lab--tiny" / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    net = timm.create_model("test_resnet", num_classes=3).eval()
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"mean": MEAN, "std": STD}}
    config["pretrained_cfg"] |= {"input_size": [3, 32, 32], "crop_pct": 1.0, "classifier": "fc", "first_conv": "conv1"}
    (snapshot / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(net.state_dict(), snapshot / "model.safetensors")
    return net, snapshot


def test_a_model_of_the_hub_equals_its_folder(hub):
    net, snapshot = hub
    model = load_model("hf-hub:lab/tiny")
    assert (model.card.arch, model.card.mean, model.card.num_classes) == ("test_resnet", MEAN, 3)
    assert torch.equal(model(images()), logits_of(net))
    assert torch.equal(logits(snapshot), logits_of(net))


def test_a_model_that_the_hub_cannot_give_says_what_to_do(hub):
    with refused("hf-hub:lab/other", "connection", "config.json and model.safetensors"):
        load_model("hf-hub:lab/other")


@pytest.mark.parametrize(
    ("arch", "parameters"), [("resnet20_cifar", 269_722), ("preactresnet18", 11_171_146), ("wrn_28_10", 36_479_194)]
)
def test_the_zoo_has_the_published_sizes(arch, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in ZOO[arch]().parameters()) == parameters


def test_the_zoo_is_reached_with_parameters(tmp_path):
    arch = "wrn_28_10:widen=1,depth=10"
    torch.save(ZOO["wrn_28_10"](5, depth=10, widen=1).state_dict(), tmp_path / "w")
    card = load_model(tmp_path / "w", arch=arch, normalized=True).card
    assert (card.arch, card.num_classes, card.activation) == (arch, 5, "relu")
    assert card.options["arch"] == arch
    untrained = load_model("resnet20_cifar:num_classes=4", normalized=True)
    assert (untrained.card.weights, untrained.card.num_classes) == ("random", 4)
    assert isinstance(untrained.net.linear, nn.Linear)
