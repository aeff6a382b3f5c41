"""Builds a network from a name: timm's, the Hub's, torchvision's, one of our zoo, or a user's callable."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torchvision
from torch import Tensor, nn

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import typed_parameters
from gradlens.core.stated import Stated, by_default, by_user
from gradlens.core.types import Preprocess, UserError
from gradlens.models._hub import at_once
from gradlens.models._zoo import ZOO


@dataclass(frozen=True)
class Built:
    """A network before its weights and normalisation are settled, with what its maker says of itself, and who it is."""

    net: nn.Module
    arch: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preprocess: Preprocess | None = None
    weights: str = "given"
    notes: tuple[str, ...] = ()
    maker: str = ""

    def own(self, value: Any) -> Stated[Any]:
        """What it says itself: a module that was handed over is the user's word, a name's default nobody's."""
        return by_default(value, self.maker) if self.maker else by_user(value)


@dataclass(frozen=True)
class For:
    """What a network is built for: its images' size, if stated, and the file whose weights it will take."""

    size: int | tuple[int, int] | None = None
    file: str = ""
    sha256: str = ""
    keys: tuple[str, ...] = ()


def build(
    name: str, kwargs: Mapping[str, Any], num_classes: int | None, pretrained: bool = False, to: For | None = None
) -> Built:
    """name: ``SOURCE:NAME``, a timm name, or one of the zoo, with ``:parameter=value,…``; or ``module:callable``.

    kwargs are given to its constructor, but where the name says otherwise; None leaves one out.
    """
    if is_code(name):
        return Built(_call(name, dict(kwargs)), name)
    source, bare, text = _parsed(name)
    if source == "zoo":
        return _from_zoo(name, bare, text, dict(kwargs), num_classes)
    read = {key: literal(value) for key, value in text.items()}
    given = {key: value for key, value in {**kwargs, **_counted(num_classes), **read}.items() if value is not None}
    return SOURCES[source](bare, given, pretrained, to or For())


def is_code(name: str) -> bool:
    """Whether building it imports and runs what the name points to."""
    return ":" in name and "=" not in name.rpartition(":")[2] and name.partition(":")[0] not in (*SOURCES, *ZOO)


def arguments_of(name: str) -> dict[str, Any]:
    """What a name says of its constructor's arguments, in the types they look like."""
    return {} if is_code(name) else {key: literal(value) for key, value in _parsed(name)[2].items()}


def literal(text: Any) -> Any:
    """``3`` → 3, ``0.1`` → 0.1, ``true``, ``none``; any other text, and what is no text, as it is."""
    words = {"true": True, "false": False, "none": None}
    if not isinstance(text, str) or text.lower() in words:
        return words[text.lower()] if isinstance(text, str) else text
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def classes_in(name: str, kwargs: Mapping[str, Any], state: Mapping[str, Tensor]) -> int | None:
    """The number of classes of a state dict: the rows of what grows with it in the network; None if that is unclear."""
    if is_code(name):
        return None
    try:
        # Two networks without memory for their weights, that differ in the number of classes alone.
        with torch.device("meta"):
            two, three = (build(name, kwargs, count).net.state_dict() for count in (2, 3))
    except Exception:  # not every network can be built so, and what is wrong with the name the real one says
        return None
    heads = [key for key in two if key in three and two[key].shape[:1] != three[key].shape[:1]]
    found = {v.shape[0] for k, v in state.items() if any(k == h or k.endswith(f".{h}") for h in heads) and v.ndim}
    return found.pop() if len(found) == 1 else None


def _parsed(name: str) -> tuple[str, str, dict[str, str]]:
    """``timm:vit:img_size=64`` → ``("timm", "vit", {"img_size": "64"})``."""
    source, _, rest = name.partition(":")
    if source not in SOURCES:
        source, rest = "zoo" if source in ZOO else "timm", name
    return source, *parse_spec(rest)


def _from_zoo(spec: str, name: str, text: dict[str, str], kwargs: dict[str, Any], num_classes: int | None) -> Built:
    parameters = typed_parameters(ZOO[name], text, f"architecture '{name}'")
    given = {**kwargs, **_counted(num_classes), **parameters}
    return Built(_construct(spec, ZOO[name], **given), spec, weights="random", maker=name)


def _timm(name: str, kwargs: dict[str, Any], pretrained: bool, to: For) -> Built:
    if not timm.is_model(name):
        raise UserError(unknown("architecture", name, [*timm.list_models(), *ZOO]))
    if not pretrained:
        built = _with_data_config(_construct(name, _adapted, partial(timm.create_model, name), to, **kwargs), name)
        return replace(built, notes=_by_torchvision(name, to))
    try:
        with at_once():
            return _with_data_config(_adapted(partial(timm.create_model, name, pretrained=True), to, **kwargs), name)
    except TypeError as error:
        raise UserError(
            f"cannot build {name} with {kwargs} ({error}); give other --arch-kwargs, or another --arch"
        ) from error
    except Exception as error:
        raise UserError(
            f"timm could not fetch the weights of {name} ({type(error).__name__}); give a checkpoint with "
            f"--arch {name}, or --weights random for an untrained one"
        ) from None


def _hub(name: str, kwargs: dict[str, Any], pretrained: bool, to: For) -> Built:
    try:
        with at_once():
            net = _adapted(partial(timm.create_model, f"hf-hub:{name}", pretrained=pretrained), to, **kwargs)
    except Exception as error:  # the Hub's client raises many types for one that is not there
        raise UserError(
            f"hf-hub:{name} could not be fetched ({type(error).__name__}); check its name and the connection, or "
            "copy its config.json and model.safetensors into a folder elsewhere and give that folder"
        ) from None
    config: Any = net.pretrained_cfg
    return _with_data_config(net, config.get("architecture") or f"hf-hub:{name}")


def _with_data_config(net: nn.Module, name: str) -> Built:
    config = timm.data.resolve_data_config({}, model=net)
    size, own = config["input_size"][-2:], cast(Any, net).pretrained_cfg
    how = Preprocess(size, config["crop_pct"], config["interpolation"], config["crop_mode"])
    mean, std = tuple(config["mean"]), tuple(config["std"])
    # timm's own are of three channels, whatever a network was built for.
    usual = (mean, std) if getattr(net, "in_chans", 3) == len(mean) else (None, None)
    maker = f"timm's {'.'.join(filter(None, [name, own.get('tag')]))}"
    return Built(net, name, usual[0], usual[1], how, "pretrained", maker=maker)


def _torchvision(name: str, kwargs: dict[str, Any], pretrained: bool, to: For) -> Built:
    """Normalised and resized as the weights are that the file is, else as those that torchvision offers by default."""
    if name not in torchvisions():
        raise UserError(unknown("torchvision classifier", name, torchvisions()))
    offered = torchvision.models.get_model_weights(name)
    named = next((w for w in offered if _is_file_of(w, to)), None)
    weights = named or offered.DEFAULT
    make = partial(torchvision.models.get_model, name, weights=weights if pretrained else None)
    notes = (f"torchvision's weights {weights.name}",) if pretrained else _unsaid(name, weights, offered, kwargs, named)
    try:
        net = _adapted(make, to, **_with_inception(name, kwargs, to))
    except (TypeError, AttributeError) as error:
        raise UserError(f"cannot build torchvision:{name} with {kwargs} ({error}); give other --arch-kwargs") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"torchvision could not give {name} with its weights ({error}); give a checkpoint with "
            f"--arch torchvision:{name}, or --weights random for an untrained one"
        ) from None
    as_trained = weights.transforms()
    size, resized = as_trained.crop_size[0], as_trained.resize_size[0]
    how = Preprocess(size, crop_pct(size, resized), as_trained.interpolation.value)
    mean, std, maker = tuple(as_trained.mean), tuple(as_trained.std), f"torchvision's {weights.name}"
    return Built(net, f"torchvision:{name}", mean, std, how, "pretrained", notes, maker)


def torchvisions() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _is_file_of(weights: Any, to: For) -> bool:
    """torchvision's files are called by their name and the start of their hash."""
    published = Path(weights.url).name
    return published == to.file or (bool(to.sha256) and published.endswith(f"-{to.sha256[:8]}.pth"))


def _by_torchvision(name: str, to: For) -> tuple[str, ...]:
    """timm takes torchvision's files too, and then resizes as its own were trained."""
    offered = torchvision.models.get_model_weights(name) if name in torchvisions() else ()
    named = next((w for w in offered if _is_file_of(w, to)), None)
    return (
        (f"the file is torchvision's {named.name}: --arch torchvision:{name} resizes as it was trained",)
        if named
        else ()
    )


def _unsaid(name: str, weights: Any, offered: Any, kwargs: Mapping[str, Any], named: Any) -> tuple[str, ...]:
    """What a name leaves open: by which of torchvision's weights images are resized, and what GoogLeNet does first."""
    notes = [f"the file is torchvision's {weights.name}"] if named else []
    others = {f"{w.name} resizes to {w.transforms().resize_size[0]}" for w in offered if w is not weights}
    if not named and others:
        notes.append(f"images are resized as for torchvision's {weights.name}; {', '.join(sorted(others))}")
    if name in TRANSFORMING and "transform_input" not in kwargs:
        notes.append(
            f"{name} transforms its input, as with torchvision's own weights; if it was trained without them: "
            f"--arch torchvision:{name}:transform_input=false"
        )
    return tuple(notes)


def _with_inception(name: str, kwargs: dict[str, Any], to: For) -> dict[str, Any]:
    """As ``get_model(name, weights=...)`` builds these, and with the auxiliary heads that the file has."""
    if name not in TRANSFORMING:
        return kwargs
    heads = {"aux_logits": any("aux" in key.lower() for key in to.keys), "init_weights": False} if to.keys else {}
    return {"transform_input": True, **heads, **kwargs}


def _adapted(make: Callable[..., nn.Module], to: For, **kwargs: Any) -> nn.Module:
    """Built for a size of images where the architecture has one, and with BatchNorm's epsilon."""
    sizes = [{key: to.size} for key in ("img_size", "image_size") if to.size and key not in kwargs]
    epsilon = kwargs.pop("bn_eps", None)
    tries = [{**size, **eps} for eps in ([{"bn_eps": epsilon}] if epsilon else []) + [{}] for size in [*sizes, {}]]
    for more in tries:
        try:
            net = make(**kwargs, **more)
        except TypeError as error:
            if not any(f"'{key}'" in str(error) for key in more):
                raise
            continue
        if epsilon and "bn_eps" not in more:
            _set_epsilon(net, epsilon)
        return net
    raise AssertionError("the last try asks for nothing more")


def _set_epsilon(net: nn.Module, epsilon: float) -> None:
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise UserError(f"bn_eps={epsilon} is stated, and the {type(net).__name__} has no BatchNorm; check its --arch")
    for norm in norms:
        norm.eps = epsilon


def crop_pct(size: int, resized: int) -> float:
    """The fraction from which timm, which rounds down, finds exactly this resize."""
    fraction = size / resized
    return fraction if math.floor(size / fraction) == resized else math.nextafter(fraction, 0)


# Those that torchvision's weights bring another mean and std for, inside.
TRANSFORMING = ("googlenet", "inception_v3")
SOURCES: dict[str, Callable[[str, dict[str, Any], bool, For], Built]] = {
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
    except UserError:
        raise
    except Exception as error:  # a constructor may raise anything of a wrong argument
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        remedy = "give other --arch-kwargs, or another --arch" if kwargs else "give another --arch"
        raise UserError(f"cannot build {name} with {kwargs} ({said}); {remedy}") from error


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
