from __future__ import annotations

import logging
from typing import cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.fx import GraphModule, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_weights


class FoldedNormAct(nn.Module):
    """What is left of timm's BatchNormAct2d: its dropout and activation under their old names."""

    def __init__(self, norm: BatchNormAct2d):
        super().__init__()
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
    if not any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        return 0
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
    once = calls.count(conv) == 1 and calls.count(norm) == 1
    return (conv, norm) if once and _is_plain(modules[conv]) and _is_known(modules[norm]) else None


def _is_plain(conv: nn.Module) -> bool:
    """A convolution that owns its weight: not a subclass, not under weight or spectral normalisation."""
    return type(conv) is nn.Conv2d and "weight" in conv._parameters


def _is_known(norm: nn.Module) -> bool:
    """A BatchNorm that does nothing else than its kind does, from statistics of its own."""
    return type(norm) in (nn.BatchNorm2d, BatchNormAct2d) and norm.running_mean is not None


def _fold(modules: dict[str, nn.Module], conv_name: str, norm_name: str) -> None:
    conv, norm = cast(nn.Conv2d, modules[conv_name]), cast(nn.BatchNorm2d, modules[norm_name])
    mean, variance = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
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
