"""A checkpoint or a name → a ``Classifier``: the network built, its weights loaded, what it says of itself settled."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradlens.core.names import unknown
from gradlens.core.types import Preprocess, UserError
from gradlens.models._activations import activation_names
from gradlens.models._allowed import check_arch
from gradlens.models._checkpoint import Checkpoint, read_checkpoint
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._swapping import swap_activations
from gradlens.models._wrappings import Form, State, without_counters
from gradlens.models.architectures import SOURCES, Built, build, is_code
from gradlens.models.fresh import fixed_seed, fresh_seed, keep_constants, open_branches, read_control, reinitialise
from gradlens.models.normalisation import Normalisation, settle

WEIGHTS = ("auto", "raw", "ema", "random")


@dataclass(frozen=True)
class _Chosen:
    """The weights of a file that are used, as the network takes them and with everything taken off."""

    kind: str
    form: Form
    bare: Form
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Asked:
    """What was asked of ``load_model``, but for the device; enough to open the same model again."""

    spec: str | Path | nn.Module
    arch: str | None
    weights: str
    activation: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    normalized: bool | None
    num_classes: int | None
    trust_pickle: bool

    @property
    def stated(self) -> dict[str, Any] | None:
        """As arguments that a file can keep; a module cannot be kept."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {**{k: v for k, v in given.items() if v is not None}, "spec": str(self.spec)}
        return None if isinstance(self.spec, nn.Module) else kept


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
    trust_pickle: bool = False,
) -> Classifier:
    """A classifier of images in [0, 1], in evaluation mode.

    spec: a checkpoint's path or a Hugging Face folder's, ``timm:NAME``, ``hf-hub:ORG/NAME``,
    ``torchvision:NAME``, ``module:callable`` (or ``file.py:callable``), or an ``nn.Module``. arch: for
    a checkpoint that does not name its own: a timm name, one of our zoo (``wrn_28_10:widen=2``), or
    any name as above. weights: ``auto`` prefers EMA, ``raw``, ``ema``, or ``random:seed=3`` for a
    freshly initialised twin. activation: swapped in before the weights are loaded. mean, std: per
    channel in [0, 1]; ``normalized=True`` says the network normalises inside. trust_pickle: let the
    file run code when it is opened. Nothing is guessed: what is missing raises UserError and names
    the flag.
    """
    asked = _Asked(spec, arch, weights, activation, mean, std, normalized, num_classes, trust_pickle)
    seed = read_control(weights)
    kind = "random" if seed is not None else weights
    if kind not in WEIGHTS:
        raise UserError(unknown("weights", weights, WEIGHTS))
    built, checkpoint, name = _built(asked, kind, seed)
    sites = swap_activations(built.net, activation) if activation else 0
    chosen = _choose(built.net, checkpoint, kind) if checkpoint else None
    filled = _fill(built.net, chosen, str(spec)) if seed is None else _randomise(built, chosen, seed)
    normalisation, said = _normalise(name, asked, built, checkpoint, chosen)
    swapped = [f"{sites} activations swapped for {activation}"] if sites else []
    card = ModelCard(
        name=f"{name}-random" if kind == "random" else name,
        spec=str(spec) if not isinstance(spec, nn.Module) else f"an nn.Module ({name})",
        arch=built.arch,
        mean=normalisation.mean or (),
        std=normalisation.std or (),
        activation=activation or "+".join(activation_names(built.net)) or None,
        weights="random" if kind == "random" else chosen.kind if chosen else built.weights,
        sha256=checkpoint.sha256 if checkpoint else None,
        num_classes=_count_classes(built.net) or num_classes,
        class_names=checkpoint.class_names if checkpoint else (),
        preprocess=_preprocess(built, checkpoint),
        notes=(*built.notes, *swapped, *filled, *said),
        options=asked.stated,
    )
    return Classifier(built.net, card).eval().to(choose_device(device))


def _built(asked: _Asked, kind: str, seed: int | None) -> tuple[Built, Checkpoint | None, str]:
    """The network before its weights, the file that has them, and the model's name."""
    if isinstance(asked.spec, nn.Module):
        if kind == "random":
            raise UserError("a module comes with its weights; give an architecture by name to have random ones")
        name = type(asked.spec).__name__
        return Built(asked.spec, name), None, name
    # The same model every time, also where its weights are random.
    with fixed_seed(0 if seed is None else fresh_seed(seed)):
        return _from_text(asked, kind)


def _fill(net: nn.Module, chosen: _Chosen | None, path: str) -> tuple[str, ...]:
    """Load the weights of a file, if there is one."""
    if chosen is None:
        return ()
    _load_strictly(net, chosen.form.state, path)
    return chosen.notes


def _randomise(built: Built, chosen: _Chosen | None, seed: int) -> tuple[str, ...]:
    """Leave no trained weight in the network: a module, or a user's code, may come with some."""
    notes = reinitialise(built.net, seed) if built.weights == "given" else ()
    if chosen:
        keep_constants(built.net, chosen.form.state)
    return (f"fresh weights, seed {seed}", *open_branches(built.net), *notes)


def _normalise(
    name: str, asked: _Asked, built: Built, checkpoint: Checkpoint | None, chosen: _Chosen | None
) -> tuple[Normalisation, list[str]]:
    form, bare = (chosen.form, chosen.bare) if chosen else (None, None)
    stated = Normalisation(checkpoint.mean, checkpoint.std) if checkpoint else Normalisation()
    given = Normalisation(asked.mean, asked.std)
    return settle(name, given, asked.normalized, form, bare, stated, Normalisation(built.mean, built.std))


def _preprocess(built: Built, checkpoint: Checkpoint | None) -> Preprocess | None:
    """The architecture's own, with what the file states instead."""
    stated = checkpoint.preprocess if checkpoint else {}
    try:
        if built.preprocess:
            return replace(built.preprocess, **stated)
        return Preprocess(**stated) if "size" in stated else None
    except TypeError as error:
        raise UserError(f"the file's preprocessing {stated} is not understood ({error}); save it again") from None


def choose_device(device: str) -> torch.device:
    """``auto`` is the first accelerator (this rank's under torchrun), else the CPU."""
    if device != "auto":
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device '{device}' cannot be used here: {str(error).splitlines()[0]}") from None
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def _from_text(asked: _Asked, weights: str) -> tuple[Built, Checkpoint | None, str]:
    spec = str(asked.spec)
    if ":" in spec and not Path(spec).exists():
        source, _, rest = spec.partition(":")
        last = [part for part in spec.split(":") if "=" not in part][-1]
        name = rest.rpartition("/")[2] if source in SOURCES else last
        return build(spec, {}, asked.num_classes, pretrained=weights != "random"), None, name
    checkpoint = read_checkpoint(spec, asked.trust_pickle)
    built = _network_of(checkpoint, asked)
    # The file's own activation is part of the architecture that its weights were trained with.
    if checkpoint.activation and checkpoint.activation != "+".join(activation_names(built.net)):
        swap_activations(built.net, checkpoint.activation)
    path = Path(spec)
    return built, checkpoint, path.name if path.is_dir() else Path(path.name.removesuffix(".tar")).stem


def _network_of(checkpoint: Checkpoint, asked: _Asked) -> Built:
    """What was asked for, else the module that a trusted file holds, else what the file names."""
    classes = asked.num_classes or checkpoint.num_classes or _rows_of_head(checkpoint)
    if asked.arch:
        return build(asked.arch, {}, classes)
    if checkpoint.module is not None:
        return Built(checkpoint.module, type(checkpoint.module).__name__)
    if not checkpoint.arch:
        entry = f"; its entry arch '{checkpoint.class_name}' may be a class that several share"
        raise UserError(
            f"{checkpoint.path} is a {checkpoint.layout} that does not name its architecture"
            f"{entry if checkpoint.class_name else ''}; give it as --arch NAME (a timm name, or module:callable)"
        )
    if is_code(checkpoint.arch) and not asked.trust_pickle:
        raise UserError(
            f"{checkpoint.path} asks for {checkpoint.arch} to be imported and run; give --arch {checkpoint.arch}, or "
            "--trust-pickle if you trust the file's origin"
        )
    check_arch(checkpoint.path, checkpoint.arch)
    return build(checkpoint.arch, checkpoint.arch_kwargs, classes)


def _choose(net: nn.Module, checkpoint: Checkpoint, weights: str) -> _Chosen:
    """Say aloud where both kinds of weights were there to choose from."""
    sets = {"raw": checkpoint.raw, "ema": checkpoint.ema}
    kind = weights if weights in sets else "ema" if checkpoint.ema else "raw"
    held = sets[kind]
    if held is None:
        raise UserError(f"{checkpoint.path} holds no {kind} weights; use --weights auto")
    notes = (f"the file holds raw and EMA weights: {kind} used",) if all(sets.values()) else ()
    return _Chosen(kind, held.fitting(net.state_dict()), held.bare, notes)


def _load_strictly(net: nn.Module, state: State, path: str) -> None:
    own = net.state_dict()
    missing, extra = [k for k in without_counters(own) if k not in state], [k for k in state if k not in own]
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
    # Old files do not count BatchNorm's updates, which no evaluation reads.
    net.load_state_dict({**own, **state})


def _first(keys: list[str]) -> str:
    return f" (such as '{keys[0]}')" if keys else ""


def _rows_of_head(checkpoint: Checkpoint) -> int | None:
    """The number of classes that a state dict's last two-dimensional weight was trained for."""
    weights = checkpoint.raw or checkpoint.ema
    heads = [v.shape[0] for v in weights.bare.state.values() if v.ndim == 2] if weights else []
    return heads[-1] if heads else None


def _count_classes(net: nn.Module) -> int | None:
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    return linears[-1].out_features if linears else None
