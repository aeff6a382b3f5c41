"""A network with its normalisation and its card, and the copy with BatchNorm folded that measures faster."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.fx import GraphModule, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gradlens.core.stated import Stated, inferred
from gradlens.core.types import Preprocess, UserError


@dataclass(frozen=True)
class ModelCard:
    """What a run must remember about a model to be repeated.

    options are the arguments of ``load_model`` that open it again, None for a module given as such;
    display is what a manifest says of it for figures and tables. stated holds who said what decides the
    number, by name: architecture and its arguments, weights, num_classes, activation, mean, std, img_size, ….
    """

    name: str
    spec: str
    arch: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str | None = None
    weights: str = "raw"
    sha256: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    folded: int = 0
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    display: Mapping[str, Any] | None = None
    stated: Mapping[str, Stated[Any]] = field(default_factory=dict)

    @property
    def inferred(self) -> str:
        """What nobody stated, in one line."""
        return inferred(self.stated)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "stated": {name: one.as_json() for name, one in self.stated.items()}}


class Classifier(nn.Module):
    """A network with its normalisation inside: images ``(B, C, H, W)`` in [0, 1] → logits ``(B, K)``.

    mean and std are per channel, in pixels of [0, 1]; zeros and ones leave the pixels. It computes in the
    type of the network's first weight.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, card: ModelCard):
        super().__init__()
        self.net, self.card = net, card
        self.channels_last = False
        self.autocast: torch.dtype | None = None
        dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
        for name, values in (("mean", card.mean), ("std", card.std)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        x = self._normalised(image).to(self.mean.dtype)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # Where none is asked for, training's own goes on.
        with torch.autocast(x.device.type, self.autocast) if self.autocast else nullcontext():
            logits = self.net(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UserError(
                f"model {self.card.name} returned {_describe(logits)}; wanted logits (B, K): wrap it so "
                "that forward returns one tensor"
            )
        if logits.shape[1] == 1:
            raise UserError(
                f"model {self.card.name} has one output, and a classifier has one for each class; return two logits, "
                "torch.cat([torch.zeros_like(z), z], 1) for a sigmoid's z"
            )
        return logits

    def _normalised(self, image: Tensor) -> Tensor:
        card, channels = self.card, image.shape[1] if image.ndim == 4 else 0
        if not any(card.mean) and set(card.std) <= {1.0}:
            return image
        # Torch would repeat a single channel, or a single mean, without a word.
        if channels != len(card.mean):
            raise UserError(
                f"images of shape {tuple(image.shape)} came to model {card.name}, which normalises {len(card.mean)} "
                "channels; give images of as many (.expand for gray ones), or one mean and std a channel"
            )
        return (image - self.mean) / self.std

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def folded(self) -> Classifier:
        """A faster copy for measuring: BatchNorm folded into convolutions, channels last.

        Module names stay, so units can still be asked for by name. The copy's card counts the folded
        sites; a network without any, or that cannot be copied, is returned as it is.
        """
        if not any(isinstance(m, nn.BatchNorm2d) for m in self.modules()):
            return self
        try:
            twin = copy.deepcopy(self).eval()
        except Exception as error:  # a user's module may hold anything
            logging.getLogger("gradlens").info("BatchNorm not folded: %s", error)
            return self
        sites = fold_batchnorm(twin.net)
        if not sites:
            return self
        twin = twin.to(memory_format=torch.channels_last)
        twin.channels_last, twin.card = True, replace(self.card, folded=sites)
        return twin

    def under_autocast(self, dtype: torch.dtype | None) -> Classifier:
        """The same network, whose weights it shares, computing in a shorter type where torch does so safely."""
        twin = copy.copy(self)
        twin.autocast = dtype
        return twin

    def provenance(self) -> dict[str, Any]:
        """The card as plain values, with the number of parameters."""
        return {**self.card.as_json(), "param_count": sum(p.numel() for p in self.parameters())}


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    return f"a {type(output).__name__}"


class FoldedNormAct(nn.Module):
    """What is left of timm's BatchNormAct2d: its dropout and activation under their old names."""

    def __init__(self, norm: BatchNormAct2d):
        super().__init__()
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))


class _LeafTracer(Tracer):
    """Traces through containers but not into timm's fused normalisation layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def fold_batchnorm(net: nn.Module) -> int:
    """Fold every BatchNorm2d that directly follows its convolution, in place; returns the sites.

    The network must be in evaluation mode. The graph is traced only to find the pairs: modules are
    replaced where they stand, so their names remain. A network that cannot be traced is left alone.
    """
    try:
        graph = GraphModule(net, _LeafTracer().trace(net)).graph
    except Exception as error:  # tracing runs the user's forward with stand-ins: anything may come
        logging.getLogger("gradlens").info("BatchNorm not folded: %s", error)
        return 0
    modules = dict(net.named_modules())
    calls = [n.target for n in graph.nodes if n.op == "call_module"]
    sites = 0
    for node in graph.nodes:
        pair = _pair(node, modules, calls)
        if pair:
            _fold(modules, *pair)
            sites += 1
    return sites


def _pair(node: torch.fx.Node, modules: dict[str, nn.Module], calls: list) -> tuple[str, str] | None:
    """The names of a convolution and the BatchNorm on it, each used once and by nobody else."""
    if node.op != "call_module" or not isinstance(modules.get(str(node.target)), nn.BatchNorm2d):
        return None
    source = node.args[0]
    if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return None
    conv, norm = str(source.target), str(node.target)
    read = [str(n.target) for n in node.graph.nodes if n.op == "get_attr"]
    if any(name.startswith((f"{conv}.", f"{norm}.")) for name in read):
        # Somebody else computes with the weight, which folding would change under their hands.
        return None
    once = calls.count(conv) == 1 and calls.count(norm) == 1
    return (conv, norm) if once and _is_plain(modules[conv]) and _is_known(modules[norm]) else None


def _is_plain(conv: nn.Module) -> bool:
    """A convolution that owns its weight: not a subclass, not under weight or spectral normalisation."""
    return type(conv) is nn.Conv2d and "weight" in conv._parameters and not _hung_on(conv)


def _is_known(norm: nn.Module) -> bool:
    """A BatchNorm that does nothing else than its kind does, from statistics of its own."""
    return type(norm) in (nn.BatchNorm2d, BatchNormAct2d) and norm.running_mean is not None and not _hung_on(norm)


def _hung_on(module: nn.Module) -> bool:
    """Whether its user hooked it, or gave it another forward: folding would leave that out or move it."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(map(bool, hooks)) or "forward" in vars(module)


def _fold(modules: dict[str, nn.Module], conv_name: str, norm_name: str) -> None:
    conv, norm = cast(nn.Conv2d, modules[conv_name]), cast(nn.BatchNorm2d, modules[norm_name])
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    weight, bias = fuse_conv_bn_weights(
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        mean.double(),
        variance.double(),
        norm.eps,
        None if norm.weight is None else norm.weight.double(),
        None if norm.bias is None else norm.bias.double(),
    )
    dtype = conv.weight.dtype
    conv.weight, conv.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))
    parent, _, child = norm_name.rpartition(".")
    left = FoldedNormAct(norm) if isinstance(norm, BatchNormAct2d) else nn.Identity()
    setattr(modules[parent], child, left.train(norm.training))
