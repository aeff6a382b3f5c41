"""The right number on other people's files, a row a kind: the plain framework's to 1e-5, or one line.

Each row makes a file as its users have it, and the same thing in plain PyTorch, timm or torchvision. What
is wrong here is silent: another number, and no error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from plain_numbers import IMAGENET, WAYS, Case, arguments, check, saved, small, timms
from refusals import refused
from torch import nn

import gradlens as gl

# --- training arguments that change the function and no shape


def with_arguments(net: nn.Module, name: str, folder: Path, **given: Any) -> str:
    return saved(folder, {"arch": name, "state_dict": net.state_dict(), "args": arguments(**given)})


def pooled_by_max(folder: Path) -> Case:
    net = small(global_pool="max")
    return Case(with_arguments(net, "byobnet", folder, gp="max"), net, timms("test_resnet"))


def pooled_by_both(folder: Path) -> Case:
    net = small(global_pool="avgmax")
    return Case(with_arguments(net, "byobnet", folder, gp="avgmax"), net, timms("test_resnet"))


def other_epsilon(folder: Path) -> Case:
    net = small()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.1
    return Case(with_arguments(net, "byobnet", folder, bn_eps=0.1), net, timms("test_resnet"))


def other_activation(folder: Path) -> Case:
    net = small(act_layer="gelu")
    return Case(with_arguments(net, "byobnet", folder, model_kwargs={"act_layer": "gelu"}), net, timms("test_resnet"))


def other_activation_beside_arch(folder: Path) -> Case:
    case = other_activation(folder)
    case.options = {"arch": "test_resnet"}
    return case


def deit(folder: Path) -> Case:
    """DeiT's training file: the size is an int, classes are nb_classes, beside a model_ema."""
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5).eval()
    args = argparse.Namespace(model="test_vit", input_size=160, nb_classes=5, drop=0.0, drop_path=0.1, lr=1e-3)
    content = {"model": net.state_dict(), "optimizer": {}, "epoch": 3, "model_ema": net.state_dict(), "args": args}
    return Case(saved(folder, content), net, timms("test_vit"), 160)


def mae(folder: Path) -> Case:
    """MAE's fine-tuning: the mean over tokens instead of the class token, which changes no shape."""
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5, global_pool="avg").eval()
    args = argparse.Namespace(model="test_vit", input_size=160, nb_classes=5, global_pool=True, drop_path=0.1)
    return Case(saved(folder, {"model": net.state_dict(), "args": args, "epoch": 1}), net, timms("test_vit"), 160)


def mae_by_its_own_name(folder: Path) -> Case:
    """MAE leaves timm's size out of the name, and normalises by ImageNet's mean whatever timm's weights say."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=5, global_pool="avg").eval()
    args = argparse.Namespace(model="vit_tiny_patch16", input_size=224, nb_classes=5, global_pool=True)
    return Case(saved(folder, {"model": net.state_dict(), "args": args, "epoch": 1}), net, IMAGENET, 224)


def vit_at(*sides: int) -> Callable[[Path], Case]:
    """The user states the size that the network was trained at."""

    def make(folder: Path) -> Case:
        torch.manual_seed(0)
        net = timm.create_model("test_vit", num_classes=5, img_size=sides).eval()
        options = {"arch": "test_vit", "preprocess": {"img_size": sides}}
        return Case(saved(folder, net.state_dict()), net, timms("test_vit"), sides, options)

    return make


def sized_by_its_file(folder: Path) -> Case:
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5, img_size=64).eval()
    args = argparse.Namespace(model="test_vit", input_size="64", nb_classes=5)
    return Case(saved(folder, {"model": net.state_dict(), "args": args}), net, timms("test_vit"), 64)


def built_by_parameters(**options: Any) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        net = small(global_pool="max", act_layer="gelu")
        return Case(saved(folder, net.state_dict()), net, timms("test_resnet"), options=options)

    return make


# --- where the weights are, and what their keys are called


def torchvisions_transform(folder: Path) -> Case:
    torch.manual_seed(0)
    options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    net = torchvision.models.googlenet(weights=None, **options)
    net(torch.rand(8, 3, 96, 96))  # statistics of its own, so that its gradient is not lost in rounding
    net.eval()
    return Case(saved(folder, net.state_dict()), net, IMAGENET, 96, {"arch": "torchvision:googlenet"}, tolerance=1e-4)


def wrapped(rename: Callable[[str], str], **beside: Any) -> Callable[[Path], Case]:
    def make(folder: Path) -> Case:
        net = small()
        state = {rename(key): value for key, value in net.state_dict().items()} | beside
        spec = saved(folder, {"state_dict": state})
        return Case(spec, net, timms("test_resnet"), options={"arch": "test_resnet"})

    return make


def other_set(asked: str, used: str, *keys: str) -> Callable[[Path], Case]:
    """Several sets of weights in a file; ``asked`` chooses the one under ``used``."""

    def make(folder: Path) -> Case:
        nets = {key: small(seed) for seed, key in enumerate(keys)}
        spec = saved(folder, {key: net.state_dict() for key, net in nets.items()} | {"optimizer": {"lr": 0.1}})
        return Case(spec, nets[used], timms("test_resnet"), options={"arch": "test_resnet", "weights": asked})

    return make


def torchvisions_reference(folder: Path) -> Case:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    args = argparse.Namespace(model="resnet18", val_resize_size=72, val_crop_size=64, interpolation="bilinear")
    return Case(saved(folder, {"model": net.state_dict(), "args": args, "epoch": 1}), net, IMAGENET, 64)


def normalised_in_its_file(folder: Path) -> Case:
    net = small()
    state = {f"model.{key}": value for key, value in net.state_dict().items()}
    held = {"normalization.mean": torch.tensor(IMAGENET[0]), "normalization.std": torch.tensor(IMAGENET[1])}
    return Case(saved(folder, held | state), net, IMAGENET, options={"arch": "test_resnet"})


def without_counters(folder: Path) -> Case:
    net = small()
    state = {key: value for key, value in net.state_dict().items() if "num_batches_tracked" not in key}
    return Case(saved(folder, state), net, timms("test_resnet"), options={"arch": "test_resnet"})


def sorted_safetensors(folder: Path) -> Case:
    """safetensors sorts its keys, so the last matrix is not the head."""
    torch.manual_seed(0)
    net = timm.create_model("test_convnext", num_classes=7).eval()
    safetensors.torch.save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "m.safetensors")
    return Case(str(folder / "m.safetensors"), net, timms("test_convnext"), 64, {"arch": "test_convnext"})


def pytorchs_example(folder: Path) -> Case:
    """``arch`` is torchvision's name in PyTorch's own ImageNet example, and its keys have ``module.``."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    content = {"epoch": 3, "arch": "resnet18", "state_dict": state, "best_acc1": torch.tensor(50.0), "optimizer": {}}
    return Case(saved(folder, content, "checkpoint.pth.tar"), net, IMAGENET, 64)


RIGHT = {
    "gp=max": pooled_by_max,
    "gp=avgmax": pooled_by_both,
    "bn_eps": other_epsilon,
    "model_kwargs": other_activation,
    "model_kwargs beside --arch": other_activation_beside_arch,
    "DeiT": deit,
    "MAE": mae,
    "transform_input": torchvisions_transform,
    "PyTorch's example": pytorchs_example,
    "part compiled": wrapped(lambda k: k.replace("layer1.", "layer1._orig_mod.")),
    "part parallel": wrapped(lambda k: k.replace("layer2.", "layer2.module.")),
    "FSDP in blocks": wrapped(
        lambda k: "_fsdp_wrapped_module." + k.replace("layer1.0.", "layer1.0._fsdp_wrapped_module.")
    ),
    "checkpointed block": wrapped(lambda k: k.replace("layer1.0.", "layer1.0._checkpoint_wrapped_module.")),
    "backbone.": wrapped(lambda k: f"backbone.{k}"),
    "network.": wrapped(lambda k: f"network.{k}"),
    "Lightning's criterion": wrapped(lambda k: f"model.{k}", **{"criterion.weight": torch.ones(5)}),
    "no num_batches_tracked": without_counters,
    "safetensors": sorted_safetensors,
    "MAE's own name": mae_by_its_own_name,
    "ViT at 64": vit_at(64, 64),
    "ViT at a rectangle": vit_at(32, 64),
    "input_size is text": sized_by_its_file,
    "--arch NAME:kw": built_by_parameters(arch="test_resnet:global_pool=max,act_layer=gelu"),
    "--arch timm:NAME:kw": built_by_parameters(arch="timm:test_resnet:global_pool=max", activation="gelu"),
    "arch_kwargs": built_by_parameters(arch="test_resnet", arch_kwargs={"global_pool": "max", "act_layer": "gelu"}),
    "unaveraged beside": other_set("auto", "model_state_dict", "unaveraged_model_state_dict", "model_state_dict"),
    "the raw beside an average": other_set("raw", "model", "model", "net_ema"),
    "swa": other_set("ema", "swa_state_dict", "state_dict", "swa_state_dict"),
    "a teacher by its key": other_set("teacher", "teacher", "student", "teacher"),
    "ema alone": other_set("auto", "model_ema", "model_ema"),
    "torchvision's reference": torchvisions_reference,
    "normalization.mean": normalised_in_its_file,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", RIGHT)
def test_the_plain_frameworks_number(tmp_path, kind, way):
    check(RIGHT[kind](tmp_path), way)


REFUSED = {
    "student and teacher": (
        lambda folder: saved(
            folder,
            {
                "state_dict": {
                    f"{who}.{k}": v for who in ("student", "teacher") for k, v in small().state_dict().items()
                }
            },
        ),
        {"arch": "test_resnet"},
        ["student", "teacher"],
    ),
    "two sets by unknown keys": (
        lambda folder: saved(folder, {key: small(seed).state_dict() for seed, key in enumerate(("last", "best"))}),
        {"arch": "test_resnet"},
        ["last", "best", "--weights"],
    ),
    "quantised": (
        lambda folder: saved(
            folder, {k: v.to(torch.int8) if v.is_floating_point() else v for k, v in small().state_dict().items()}
        ),
        {"arch": "test_resnet"},
        ["conv1", "torch.int8", "floating point"],
    ),
    "an argument that the architecture lacks": (
        lambda folder: with_arguments(small(), "byobnet", folder, model_kwargs={"window": 7}),
        {},
        ["test_resnet", "window", "--arch"],
    ),
    "bn_eps without BatchNorm": (
        lambda folder: with_arguments(small(), "vit", folder, model="test_vit", bn_eps=0.1),
        {},
        ["bn_eps", "BatchNorm"],
    ),
    "a ViT of another size": (
        lambda folder: saved(folder, timm.create_model("test_vit", num_classes=5, img_size=64).state_dict()),
        {"arch": "test_vit"},
        ["pos_embed", "--img-size"],
    ),
    "one channel, normalised by nobody": (
        lambda folder: with_arguments(small(in_chans=1), "byobnet", folder, in_chans=1),
        {},
        ["--mean", "--std"],
    ),
    "half a normalisation": (
        lambda folder: saved(folder, {"state_dict": small().state_dict()}),
        {"arch": "test_resnet", "mean": (0.485, 0.456, 0.406)},
        ["mean", "std"],
    ),
    "a statement of half a normalisation": (
        lambda folder: with_arguments(small(), "byobnet", folder, mean=[0.485, 0.456, 0.406]),
        {},
        ["mean", "std"],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_line_where_two_numbers_could_be_meant(tmp_path, kind):
    make, options, said = REFUSED[kind]
    with refused(*said):
        gl.load_model(make(tmp_path), device="cpu", **options)
