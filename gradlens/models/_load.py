from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from gradlens._registry import unknown
from gradlens._types import Preprocess, UserError
from gradlens.models._activations import activation_names, swap_activations
from gradlens.models._checkpoint import Checkpoint, State, read_checkpoint
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._zoo import ZOO

WEIGHTS = ("auto", "raw", "ema", "random")


@dataclass(frozen=True)
class _Built:
    """A network before its normalisation is settled, with what its maker says of itself."""

    net: nn.Module
    arch: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preprocess: Preprocess | None = None
    weights: str = "given"


def load_model(
    spec: str | Path | nn.Module,
    arch: str | None = None,
    weights: str = "auto",
    activation: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    normalized: bool | None = None,
    num_classes: int | None = None,
    device: str = "auto",
) -> Classifier:
    """A classifier of images in [0, 1], in evaluation mode.

    spec: a checkpoint's path, ``timm:NAME``, ``module:callable`` (or ``file.py:callable``), or an
    ``nn.Module``. arch: for a checkpoint that does not name its own: a timm name, one of our zoo, or
    ``module:callable``. weights: ``auto`` prefers EMA, ``raw``, ``ema``, or ``random`` for a freshly
    initialised twin. activation: swapped in before the weights are loaded. mean, std: per channel in
    [0, 1]; ``normalized=True`` says the network normalises inside. Nothing is guessed: what is
    missing raises UserError and names the flag.
    """
    options = {k: v for k, v in locals().items() if k != "device" and v is not None}
    if weights not in WEIGHTS:
        raise UserError(unknown("weights", weights, WEIGHTS))
    if isinstance(spec, nn.Module):
        if weights == "random":
            raise UserError("a module comes with its weights; give an architecture by name to have random ones")
        built, checkpoint, name = _Built(spec, type(spec).__name__), None, type(spec).__name__
    else:
        with _fixed_seed():
            built, checkpoint, name = _from_text(str(spec), arch, weights, num_classes)
    sites = swap_activations(built.net, activation) if activation else 0
    notes, used = [f"{sites} activations swapped for {activation}"] if sites else [], built.weights
    if checkpoint and weights != "random":
        used, note = _load_weights(built.net, checkpoint, weights)
        notes += note
    mean, std = _normalisation(built, checkpoint, mean, std, normalized, name)
    card = ModelCard(
        name=f"{name}-random" if weights == "random" else name,
        spec=str(spec) if not isinstance(spec, nn.Module) else f"an nn.Module ({name})",
        arch=built.arch,
        mean=mean,
        std=std,
        activation=activation or "+".join(activation_names(built.net)) or None,
        weights="random" if weights == "random" else used,
        sha256=checkpoint.sha256 if checkpoint else None,
        num_classes=_count_classes(built.net) or num_classes,
        class_names=checkpoint.class_names if checkpoint else (),
        preprocess=(checkpoint.preprocess if checkpoint else None) or built.preprocess,
        notes=tuple(notes),
        options=None if isinstance(spec, nn.Module) else {**options, "spec": str(spec)},
    )
    return Classifier(built.net, card).eval().to(choose_device(device))


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """A model with random weights is the same model every time; the caller's random numbers go on."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def choose_device(device: str) -> torch.device:
    """``auto`` is the first accelerator (this rank's under torchrun), else the CPU."""
    if device != "auto":
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device '{device}' cannot be used here: {str(error).splitlines()[0]}") from None
    import os

    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def _from_text(
    spec: str, arch: str | None, weights: str, num_classes: int | None
) -> tuple[_Built, Checkpoint | None, str]:
    if spec.startswith("timm:"):
        name = spec.removeprefix("timm:")
        return _timm(name, weights != "random", num_classes), None, name
    if ":" in spec and not Path(spec).exists():
        return _Built(_call(spec, {}), spec), None, spec.rpartition(":")[2]
    checkpoint = read_checkpoint(spec)
    architecture = arch or checkpoint.arch
    if not architecture:
        raise UserError(
            f"{spec} is a {checkpoint.layout} that does not name its architecture; give it as --arch NAME "
            "(a timm name, or module:callable)"
        )
    kwargs = checkpoint.arch_kwargs if not arch else {}
    # The file's own activation is part of the architecture that its weights were trained with.
    built = _architecture(architecture, kwargs, num_classes or checkpoint.num_classes or _rows_of_head(checkpoint))
    if checkpoint.activation and checkpoint.activation != "+".join(activation_names(built.net)):
        swap_activations(built.net, checkpoint.activation)
    return built, checkpoint, Path(Path(spec).name.removesuffix(".tar")).stem


def _architecture(name: str, kwargs: dict[str, Any], num_classes: int | None) -> _Built:
    if name in ZOO:
        return _Built(ZOO[name](**{**kwargs, **({"num_classes": num_classes} if num_classes else {})}), name)
    if ":" in name:
        return _Built(_call(name, kwargs), name)
    return _timm(name, False, num_classes)


def _timm(name: str, pretrained: bool, num_classes: int | None) -> _Built:
    if not timm.is_model(name):
        raise UserError(unknown("architecture", name, [*timm.list_models(), *ZOO]))
    kwargs: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
    try:
        net = timm.create_model(name, pretrained=pretrained, **kwargs)
    except Exception as error:
        if not pretrained:
            raise
        raise UserError(
            f"timm could not fetch the weights of {name} ({type(error).__name__}); give a checkpoint with "
            f"--arch {name}, or --weights random for an untrained one"
        ) from None
    config = timm.data.resolve_data_config({}, model=net)
    size = config["input_size"][-1]
    how = Preprocess(size, config["crop_pct"], config["interpolation"], config["crop_mode"])
    return _Built(net, name, tuple(config["mean"]), tuple(config["std"]), how, "pretrained")


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


def _load_weights(net: nn.Module, checkpoint: Checkpoint, weights: str) -> tuple[str, list[str]]:
    """Load strictly; say aloud where both kinds of weights were there to choose from."""
    used = weights if weights != "auto" else "ema" if checkpoint.ema else "raw"
    state = checkpoint.ema if used == "ema" else checkpoint.raw
    if state is None:
        raise UserError(f"{checkpoint.path} holds no {used} weights; use --weights auto")
    _load_strictly(net, state, checkpoint.path)
    both = checkpoint.ema is not None and checkpoint.raw is not None
    return used, [f"the file holds raw and EMA weights: {used} used"] if both else []


def _load_strictly(net: nn.Module, state: State, path: str) -> None:
    own = net.state_dict()
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if shapes and not missing and not extra:
        k = shapes[0]
        raise UserError(
            f"{path}: '{k}' has shape {tuple(state[k].shape)}, the architecture wants {tuple(own[k].shape)}; "
            "give the right --arch or --num-classes"
        )
    if missing or extra:
        raise UserError(
            f"{path} does not fit the architecture: {len(missing)} keys missing{_first(missing)}, "
            f"{len(extra)} unexpected{_first(extra)}; give the right --arch"
        )
    net.load_state_dict(state)


def _first(keys: list[str]) -> str:
    return f" (such as '{keys[0]}')" if keys else ""


def _normalisation(
    built: _Built,
    checkpoint: Checkpoint | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    normalized: bool | None,
    name: str,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if normalized:
        if mean or std:
            raise UserError("normalized=True says that the model normalises inside; drop mean and std")
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean = mean or (checkpoint.mean if checkpoint else None) or built.mean
    std = std or (checkpoint.std if checkpoint else None) or built.std
    if mean is None or std is None:
        raise UserError(
            f"{name} does not say how its input is normalised; give --mean and --std (per channel, in [0, 1]), "
            "or --normalized if it normalises inside"
        )
    if len(mean) != len(std) or min(std) <= 0:
        raise UserError(f"mean {mean} and std {std} do not fit; wanted one positive std a channel")
    return tuple(mean), tuple(std)


def _rows_of_head(checkpoint: Checkpoint) -> int | None:
    """The number of classes that a state dict's last two-dimensional weight was trained for."""
    state = checkpoint.raw or checkpoint.ema or {}
    heads = [v.shape[0] for v in state.values() if v.ndim == 2]
    return heads[-1] if heads else None


def _count_classes(net: nn.Module) -> int | None:
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    return linears[-1].out_features if linears else None
