"""Architectures whose names and shapes a state dict fits, for a file that does not say which it is."""

from __future__ import annotations

import inspect
import re
import time
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

import timm
import torch
import torchvision
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
    """Names for ``--arch``, the likeliest first.

    The search ends after some names, some seconds, or where those that come are less like the ones that fitted.
    """
    until, wanted = time.monotonic() + seconds, shapes(state)
    found: dict[str, int] = {}
    for name, likeness in _candidates(wanted):
        late = time.monotonic() > until or likeness < min(found.values(), default=likeness)
        if len(found) == most or late:
            break
        if fits(_built(name), wanted):
            found[name] = likeness
    return list(found)


def _candidates(wanted: Shapes) -> list[tuple[str, int]]:
    """Of the families that a key tells, with how many of the state's numbers stand in its maker's code.

    Looking there takes a ten-thousandth of building what it makes. Of equals short names come first, which are the
    usual networks.
    """
    globs = next((globs for key, globs in FAMILIES.items() if key in wanted), ())
    known = [*timm.list_models(), *(f"torchvision:{name}" for name in torchvisions())]
    names = {name for name in known if any(fnmatch(name.rpartition(":")[2], glob) for glob in globs)}
    marks = _marks(wanted)
    likeness = {name: len(marks & _constants(name)) for name in names}
    ranked = sorted(names, key=lambda name: (-likeness[name], len(name.rpartition(":")[2]), name))
    return [*((name, len(marks)) for name in ZOO), *((name, likeness[name]) for name in ranked)]


def _marks(wanted: Shapes) -> set[Any]:
    """What a maker is likely to be given: the blocks of the stages, ``(2, 2, 6, 2)``, or of all; the first width."""
    blocks: Counter = Counter()
    for key in wanted:
        if place := re.match(r"(?:layers?|stages|features|blocks)\.?(\d+)\.(?:blocks\.)?(?:(\d+)\.)?", key):
            blocks[int(place[1])] = max(blocks[int(place[1])], 1 + int(place[2] or 0))
    depths = tuple(blocks[stage] for stage in sorted(blocks))
    return {depths, len(depths), next((shape[0] for shape in wanted.values() if len(shape) == 4), None)}


def _constants(name: str) -> set[Any]:
    """The numbers and tuples that stand in a maker's code."""
    source, _, bare = name.rpartition(":")
    make = torchvision.models.get_model_builder(bare) if source else timm.model_entrypoint(bare)
    return {one for one in inspect.unwrap(make).__code__.co_consts if isinstance(one, int | tuple)}


def _built(name: str) -> Shapes:
    """A network's names and shapes, without memory for its weights; none where it cannot be built so."""
    try:
        with torch.device("meta"):
            return shapes(build(name, {}, None).net.state_dict())
    except Exception:
        return {}


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {key: tensor.shape for key, tensor in without_counters(state).items()}


def fits(own: Shapes, wanted: Shapes) -> bool:
    """The same names and shapes, but for the number of classes, which is the number of rows of the head."""
    if own.keys() != wanted.keys():
        return False
    others = {(own[key][:1], shape[:1]) for key, shape in wanted.items() if own[key] != shape}
    return len(others) < 2 and all(own[key][1:] == shape[1:] for key, shape in wanted.items())
