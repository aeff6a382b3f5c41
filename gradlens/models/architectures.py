"""Builds a network from a name: timm's, the Hub's, torchvision's, one of our zoo, or a user's callable."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torchvision
from torch import nn

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import typed_parameters
from gradlens.core.types import Preprocess, UserError
from gradlens.models._allowed import check_arguments
from gradlens.models._zoo import ZOO


@dataclass(frozen=True)
class Built:
    """A network before its weights and normalisation are settled, with what its maker says of itself."""

    net: nn.Module
    arch: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preprocess: Preprocess | None = None
    weights: str = "given"
    notes: tuple[str, ...] = ()


def build(name: str, kwargs: dict[str, Any], num_classes: int | None, pretrained: bool = False) -> Built:
    """name: ``SOURCE:NAME``, a timm name, ``ZOO_NAME:parameter=value``, or ``module:callable``."""
    source, _, rest = name.partition(":")
    if not is_code(name):
        check_arguments(name, kwargs)
    if source in ZOO:
        return _from_zoo(name, kwargs, num_classes)
    if source in SOURCES:
        return SOURCES[source](rest, kwargs, num_classes, pretrained)
    if is_code(name):
        return Built(_call(name, kwargs), name)
    return _timm(name, kwargs, num_classes, pretrained)


def is_code(name: str) -> bool:
    """Whether building it imports and runs what the name points to."""
    return ":" in name and name.partition(":")[0] not in (*SOURCES, *ZOO)


def _from_zoo(spec: str, kwargs: dict[str, Any], num_classes: int | None) -> Built:
    name, text = parse_spec(spec)
    counted = _counted(num_classes)
    parameters = typed_parameters(ZOO[name], text, f"architecture '{name}'")
    return Built(_construct(spec, ZOO[name], **{**kwargs, **counted, **parameters}), spec, weights="random")


def _timm(name: str, kwargs: dict[str, Any], num_classes: int | None, pretrained: bool) -> Built:
    if not timm.is_model(name):
        raise UserError(unknown("architecture", name, [*timm.list_models(), *ZOO]))
    counted = _counted(num_classes)
    if not pretrained:
        return _with_data_config(_construct(name, timm.create_model, name, **{**kwargs, **counted}), name)
    try:
        return _with_data_config(timm.create_model(name, pretrained=True, **kwargs, **counted), name)
    except Exception as error:
        raise UserError(
            f"timm could not fetch the weights of {name} ({type(error).__name__}); give a checkpoint with "
            f"--arch {name}, or --weights random for an untrained one"
        ) from None


def _hub(name: str, kwargs: dict[str, Any], num_classes: int | None, pretrained: bool) -> Built:
    counted = _counted(num_classes)
    try:
        net = timm.create_model(f"hf-hub:{name}", pretrained=pretrained, **kwargs, **counted)
    except Exception as error:  # the Hub's client raises many types for one that is not there
        raise UserError(
            f"hf-hub:{name} could not be fetched ({type(error).__name__}); check its name and the connection, or "
            "copy its config.json and model.safetensors into a folder elsewhere and give that folder"
        ) from None
    config: Any = net.pretrained_cfg
    return _with_data_config(net, config.get("architecture") or f"hf-hub:{name}")


def _with_data_config(net: nn.Module, name: str) -> Built:
    config = timm.data.resolve_data_config({}, model=net)
    size = config["input_size"][-1]
    how = Preprocess(size, config["crop_pct"], config["interpolation"], config["crop_mode"])
    return Built(net, name, tuple(config["mean"]), tuple(config["std"]), how, "pretrained")


def _torchvision(name: str, kwargs: dict[str, Any], num_classes: int | None, pretrained: bool) -> Built:
    """Normalised and resized as the weights that torchvision offers by default were trained."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(unknown("torchvision classifier", name, known))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    counted = _counted(num_classes)
    try:
        net = torchvision.models.get_model(name, weights=weights if pretrained else None, **kwargs, **counted)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"torchvision could not give {name} with its weights ({error}); give a checkpoint with "
            f"--arch torchvision:{name}, or --weights random for an untrained one"
        ) from None
    as_trained = weights.transforms()
    size, resized = as_trained.crop_size[0], as_trained.resize_size[0]
    how = Preprocess(size, _crop_pct(size, resized), as_trained.interpolation.value)
    notes = (f"torchvision's weights {weights.name}",) if pretrained else ()
    return Built(net, f"torchvision:{name}", tuple(as_trained.mean), tuple(as_trained.std), how, "pretrained", notes)


def _crop_pct(size: int, resized: int) -> float:
    """The fraction from which timm, which rounds down, finds exactly this resize."""
    fraction = size / resized
    return fraction if math.floor(size / fraction) == resized else math.nextafter(fraction, 0)


SOURCES: dict[str, Callable[[str, dict[str, Any], int | None, bool], Built]] = {
    "timm": _timm,
    "hf-hub": _hub,
    "torchvision": _torchvision,
}


def _counted(num_classes: int | None) -> dict[str, Any]:
    return {"num_classes": num_classes} if num_classes else {}


def _construct(name: str, make: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Arguments come from a file or a flag, so those that do not fit are the user's to mend."""
    try:
        return make(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot build {name} with {kwargs} ({error}); give the right --arch") from error


def _call(spec: str, kwargs: dict[str, Any]) -> nn.Module:
    """Build ``package.module:callable`` or ``path/file.py:callable``."""
    where, _, name = spec.rpartition(":")
    try:
        net = getattr(_import(where), name)(**kwargs)
    except Exception as error:  # the user's code may raise anything, so its trace is kept
        raise UserError(f"cannot build '{spec}' ({error!r}); wanted module:callable or file.py:callable") from error
    if not isinstance(net, nn.Module):
        raise UserError(f"{spec} returned a {type(net).__name__}; wanted a callable that returns an nn.Module")
    return net


def _import(where: str) -> Any:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    # Under a name of its own, so that a file called utils.py does not replace the module utils.
    spec = importlib.util.spec_from_file_location(f"gradlens_model_{Path(where).stem}", where)
    if spec is None or spec.loader is None:
        raise ImportError(f"{where} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
