"""Architectures whose names and shapes a state dict fits, for a file that does not say which it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

import timm
import torch
from torch import Tensor

from gradlens.models._wrappings import without_counters
from gradlens.models._zoo import ZOO
from gradlens.models.architectures import build, torchvisions

Shapes = Mapping[str, torch.Size]
# A key that tells a family → what its networks are called, by timm and by torchvision.
FAMILIES = {
    "layer1.0.conv1.weight": ("resnet[0-9]*", "resnext*", "wide_resnet*", "test_resnet", "seresnet[0-9]*"),
    "cls_token": ("vit_*_patch??_???", "deit*_patch*", "test_vit"),
    "blocks.0.attn.qkv.weight": ("vit_*_patch*_gap_*", "vit_*_patch??_???", "test_vit*"),
    "class_token": ("vit_?_*",),
    "layers.0.blocks.0.attn.qkv.weight": (
        "swin_tiny_*",
        "swin_small_*",
        "swin_base_*",
        "swin_large_*",
        "swinv2_tiny_*",
    ),
    "features.1.0.attn.qkv.weight": ("swin_*",),
    "stages.0.blocks.0.conv_dw.weight": ("convnext*", "test_convnext*"),
    "features.1.0.block.0.weight": ("convnext_*",),
    "blocks.0.0.conv_dw.weight": ("efficientnet*", "tf_efficientnet*", "mobilenetv*", "mnasnet*"),
    "features.1.0.block.0.0.weight": ("efficientnet*",),
    "features.1.conv.0.0.weight": ("mobilenet_v2",),
    "features.denseblock1.denselayer1.conv1.weight": ("densenet*",),
    "features.3.squeeze.weight": ("squeezenet*",),
    "features.0.weight": ("vgg*", "alexnet"),
    "inception3a.branch1.conv.weight": ("googlenet",),
    "Mixed_5b.branch1x1.conv.weight": ("inception_v3",),
    "s1.b1.conv1.conv.weight": ("regnet?_*",),
    "trunk_output.block1.block1-0.f.a.0.weight": ("regnet_*",),
    "stem.conv.weight": ("regnet?_*",),
}


def proposals(state: Mapping[str, Tensor], most: int = 3, seconds: float = 6.0) -> list[str]:
    """Names for ``--arch``, the likeliest first; the search ends after some names, or some seconds."""
    until, wanted = time.monotonic() + seconds, _shapes(state)
    found: list[str] = []
    for name in _candidates(wanted):
        if len(found) == most or time.monotonic() > until:
            break
        if _fits(_built(name), wanted):
            found.append(name)
    return found


def _candidates(wanted: Shapes) -> Iterator[str]:
    """Of the families that a key tells; short names first, since these are the usual networks."""
    yield from ZOO
    globs = next((globs for key, globs in FAMILIES.items() if key in wanted), ())
    known = [*timm.list_models(), *(f"torchvision:{name}" for name in torchvisions())]
    names = {name for name in known if any(fnmatch(name.rpartition(":")[2], glob) for glob in globs)}
    yield from sorted(names, key=lambda name: (len(name.rpartition(":")[2]), name))


def _built(name: str) -> Shapes:
    """A network's names and shapes, without memory for its weights; none where it cannot be built so."""
    try:
        with torch.device("meta"):
            return _shapes(build(name, {}, None).net.state_dict())
    except Exception:
        return {}


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {key: tensor.shape for key, tensor in without_counters(state).items()}


def _fits(own: Shapes, wanted: Shapes) -> bool:
    """The same names and shapes, but for the number of classes, which is the number of rows of the head."""
    if own.keys() != wanted.keys():
        return False
    others = {(own[key][:1], shape[:1]) for key, shape in wanted.items() if own[key] != shape}
    return len(others) < 2 and all(own[key][1:] == shape[1:] for key, shape in wanted.items())
