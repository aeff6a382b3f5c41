"""Attributions other than the gradient, from captum."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.models.watching import measuring
from gradlens.probes.probe import Images, Probe

# What is given to each, whatever the caller says.
GIVEN = ("self", "forward_func", "model", "inputs", "target")


def attribution(probe: Probe, method: str = "IntegratedGradients", **parameters: Any) -> Images:
    """A captum attribution of the label's logit, ``(B, C, H, W)``, signed.

    method is the name of a class in ``captum.attr``; parameters go to its constructor or its
    ``attribute``, whichever takes them. A layer is given by its name in the network, and the method that
    NoiseTunnel averages by its own: ``attribution(probe, "NoiseTunnel", attribution_method="Saliency",
    nt_samples=8)``. ``attribution(probe, "Saliency", abs=False)`` equals ``probe.gradient("true_logit")``.
    ``probe.with_map`` takes the result to the analyzers; a layer's map is as large as the layer. Raises
    UserError for what captum lacks, and for a parameter that the method wants or does not know.
    """
    with measuring(probe.model), torch.enable_grad():
        explainer, rest = _explainer(probe.model, method, parameters)
        _check_complete(method, explainer.attribute, rest)
        try:
            found = explainer.attribute(probe.batch.image, target=probe.target, **rest)
        except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
            first = next(iter(str(error).strip().splitlines()), "")
            raise UserError(
                f"captum's {method} refuses: {type(error).__name__}: {first[:160]}; look at its parameters"
            ) from error
    maps = found[0] if isinstance(found, tuple) and found else found
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or len(maps) != len(probe.batch):
        what = f"shape {tuple(maps.shape)}" if isinstance(maps, torch.Tensor) else f"a {type(maps).__name__}"
        raise UserError(f"captum's {method} gave {what}, which is no map of each image; take another method or layer")
    return maps.detach()


def _explainer(model: nn.Module, method: str, parameters: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """An object of captum's class, and the parameters that are left for its ``attribute``."""
    kind = _kind(method)
    takes = inspect.signature(kind.__init__).parameters
    own = {k: v for k, v in parameters.items() if k in takes and k not in GIVEN}
    rest = {k: v for k, v in parameters.items() if k not in own}
    if isinstance(own.get("layer"), str):
        layers = dict(getattr(model, "net", model).named_modules())
        if own["layer"] not in layers:
            raise UserError(unknown("layer", own["layer"], layers))
        own["layer"] = layers[own["layer"]]
    if isinstance(own.get("attribution_method"), str):
        own["attribution_method"], _ = _explainer(model, own["attribution_method"], {})
    _check_complete(method, kind.__init__, own)
    first = () if "attribution_method" in takes else (model,)
    return kind(*first, **own), rest


def _kind(method: str) -> Any:
    import captum.attr

    base, kinds = captum.attr.Attribution, vars(captum.attr).items()
    usable = {n: k for n, k in kinds if isinstance(k, type) and issubclass(k, base) and hasattr(k, "attribute")}
    if method not in usable:
        raise UserError(unknown("attribution of captum", method, usable))
    return usable[method]


def _check_complete(method: str, function: Callable, given: Mapping[str, Any]) -> None:
    """Everything that captum wants is there, and nothing that it does not know."""
    takes = inspect.signature(function).parameters
    wanted = [n for n, p in takes.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    missing = [n for n in wanted if n not in given and n not in GIVEN]
    if missing:
        hint = " such as 'layer4'" if missing[0] == "layer" else " such as 'Saliency'" if "method" in missing[0] else ""
        raise UserError(f"captum's {method} wants {' and '.join(missing)}; give it by name, {missing[0]}=…{hint}")
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return
    if strange := sorted(set(given) - set(takes)):
        raise UserError(unknown(f"parameter of captum's {method}", strange[0], set(takes) - set(GIVEN)))
