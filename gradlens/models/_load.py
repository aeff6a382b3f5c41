"""A checkpoint or a name → a ``Classifier``: the network built, its weights loaded, what it says of itself settled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradlens.core.files import checkpoint_name
from gradlens.core.names import unknown
from gradlens.core.stated import Stated, by_default, by_file, by_user
from gradlens.core.surroundings import undisturbed
from gradlens.core.types import Preprocess, UserError
from gradlens.models._activations import activation_names
from gradlens.models._allowed import check_arch, check_size
from gradlens.models._checkpoint import Checkpoint, read_checkpoint
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._handed import by_channel, measurable
from gradlens.models._opening import is_here
from gradlens.models._proposals import fits, proposals
from gradlens.models._proposals import shapes as tensor_shapes
from gradlens.models._statements import (
    Asked,
    Chosen,
    activation_of,
    is_name,
    normalisation_of,
    parts_of,
    preprocess_of,
    said_of,
    size_of,
    weights_of,
)
from gradlens.models._swapping import swap_activations
from gradlens.models._wrappings import State, average_in, below, unwrap, without_counters
from gradlens.models.architectures import SOURCES, Built, For, build, classes_in, is_code, literal
from gradlens.models.fresh import fixed_seed, fresh_seed, keep_constants, open_branches, read_control, reinitialise

WEIGHTS = ("auto", "raw", "ema", "random")


@undisturbed()
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
    arch_kwargs: Mapping[str, Any] | None = None,
    preprocess: Preprocess | Mapping[str, Any] | None = None,
) -> Classifier:
    """A classifier of images in [0, 1], in evaluation mode.

    spec: a checkpoint's path or a Hugging Face folder's, ``timm:NAME``, ``hf-hub:ORG/NAME``,
    ``torchvision:NAME``, ``module:callable`` (or ``file.py:callable``), or an ``nn.Module``. arch: for
    a checkpoint that does not name its own: a timm name, one of our zoo (``wrn_28_10:widen=2``), or
    any name as above, with ``:parameter=value`` for its constructor; arch_kwargs are more of them, and
    None leaves out one that the file states. weights: ``auto`` prefers an average, ``raw``, ``ema``, a key of
    the file, or ``random:seed=3`` for a freshly initialised twin. activation: swapped in before the weights
    are loaded. mean, std: per channel in [0, 1]; ``normalized=True`` says the network normalises inside.
    trust_pickle: let the file run code when it is opened. preprocess: a ``Preprocess``, or some of its parts
    (``img_size``, ``crop_pct``, ``interpolation``, ``crop_mode``) instead of the file's and the architecture's.
    What is stated here wins over the file, and the card says what nobody stated. Nothing else is guessed: what
    is missing raises UserError and names the flag.
    """
    kwargs = {key: literal(value) for key, value in (arch_kwargs or {}).items()} or None
    asked = Asked(
        *(spec, arch, weights, activation, mean, std, normalized, num_classes, trust_pickle),
        *(kwargs, parts_of(preprocess) or None),
    )
    where = choose_device(device)
    net, card = _network_and_card(asked)
    return Classifier(net, card).eval().to(where)


def _network_and_card(asked: Asked) -> tuple[nn.Module, ModelCard]:
    """The network with its weights, and all that is settled about it."""
    spec, weights, activation = asked.spec, asked.weights, asked.activation
    seed = read_control(weights)
    kind = "random" if seed is not None else weights
    if kind not in WEIGHTS and (isinstance(spec, nn.Module) or is_name(spec)):
        raise UserError(unknown("weights", weights, WEIGHTS))
    built, checkpoint, name, stated = _built(asked, kind, seed)
    built = measurable(built, name)
    sites = swap_activations(built.net, activation) if activation else 0
    chosen = _choose(built.net, checkpoint, kind) if checkpoint else None
    filled = _fill(built.net, chosen, asked) if seed is None else _randomise(built, chosen, seed)
    swapped = [f"{sites} activations swapped for {activation}"] if sites else []
    card = _card(asked, kind, name, built, checkpoint, chosen, stated)
    return built.net, replace(card, notes=(*built.notes, *swapped, *filled, *card.notes))


def _card(
    asked: Asked,
    kind: str,
    name: str,
    built: Built,
    checkpoint: Checkpoint | None,
    chosen: Chosen | None,
    stated: dict[str, Stated[Any]],
) -> ModelCard:
    """What the model says of itself, each part from the user, else the file, else the architecture."""
    normalisation, said = normalisation_of(name, asked, built, checkpoint, chosen)
    normalisation = replace(normalisation, value=by_channel(normalisation.value, built.net))
    how, parts = preprocess_of(asked, built, checkpoint)
    used = asked.activation or "+".join(activation_names(built.net)) or None
    classes = _count_classes(built.net) or asked.num_classes
    stated |= {
        "weights": weights_of(kind, built, chosen),
        "activation": activation_of(asked, checkpoint, built, used),
        "mean": Stated(normalisation.value.mean, normalisation.rank, normalisation.where),
        "std": Stated(normalisation.value.std, normalisation.rank, normalisation.where),
        "num_classes": stated.get("num_classes") or built.own(classes),
        **parts,
    }
    if checkpoint and checkpoint.class_names:
        stated["class_names"] = by_file(checkpoint.class_names, checkpoint.where)
    return ModelCard(
        name=f"{name}-random" if kind == "random" else name,
        spec=str(asked.spec) if not isinstance(asked.spec, nn.Module) else f"an nn.Module ({name})",
        arch=built.arch,
        mean=normalisation.value.mean or (),
        std=normalisation.value.std or (),
        activation=used,
        weights=stated["weights"].value,
        sha256=checkpoint.sha256 if checkpoint else None,
        num_classes=classes,
        class_names=checkpoint.class_names if checkpoint else (),
        preprocess=how,
        notes=tuple(said),
        options=asked.options,
        stated={key: one for key, one in stated.items() if one.value is not None},
    )


def _built(asked: Asked, kind: str, seed: int | None) -> tuple[Built, Checkpoint | None, str, dict[str, Stated[Any]]]:
    """The network before its weights, the file that has them, the model's name, and who says what it is."""
    if isinstance(asked.spec, nn.Module):
        if kind == "random":
            raise UserError("a module comes with its weights; give an architecture by name to have random ones")
        name = type(asked.spec).__name__
        return Built(asked.spec, name), None, name, {"architecture": by_user(name)}
    # The same model every time, also where its weights are random.
    with fixed_seed(0 if seed is None else fresh_seed(seed)):
        return _from_text(asked, kind)


def _fill(net: nn.Module, chosen: Chosen | None, asked: Asked) -> tuple[str, ...]:
    """Load the weights of a file, if there is one."""
    if chosen is None:
        return ()
    _load_strictly(net, chosen.form.state, str(asked.spec), "size" in (asked.preprocess or {}))
    return chosen.notes


def _randomise(built: Built, chosen: Chosen | None, seed: int) -> tuple[str, ...]:
    """Leave no trained weight in the network: a module, or a user's code, may come with some."""
    notes = reinitialise(built.net, seed) if built.weights == "given" else ()
    if chosen:
        keep_constants(built.net, chosen.form.state)
    return (f"fresh weights, seed {seed}", *open_branches(built.net), *notes)


def choose_device(device: str) -> torch.device:
    """``auto`` is the first accelerator (this rank's under torchrun), else the CPU."""
    if device != "auto":
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            # torch goes on with advice to install a driver, or with all the devices that it was ever built for.
            why = "" if "device string" in str(error) else f" ({str(error).splitlines()[0].partition('. ')[0]})"
            here = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
            raise UserError(f"--device {device} cannot be used here{why}; there is: {', '.join(here)}") from None
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def _from_text(asked: Asked, weights: str) -> tuple[Built, Checkpoint | None, str, dict[str, Stated[Any]]]:
    spec = str(asked.spec)
    if is_name(spec):
        last = next((part for part in reversed(spec.split(":")) if "=" not in part), spec)
        name = last.rpartition("/")[2] if spec.partition(":")[0] in SOURCES else last
        size = size_of(asked, None)
        to = For(size.value if size else None)
        built = build(spec, asked.arch_kwargs or {}, asked.num_classes, weights != "random", to)
        return built, None, name, said_of(asked, None, {}, asked.num_classes)
    checkpoint = read_checkpoint(spec, asked.trust_pickle)
    built, stated = _network_of(checkpoint, asked)
    # The file's own activation is part of the architecture that its weights were trained with.
    if checkpoint.activation and checkpoint.activation != "+".join(activation_names(built.net)):
        swap_activations(built.net, checkpoint.activation)
    return built, checkpoint, checkpoint_name(spec), stated


def _network_of(checkpoint: Checkpoint, asked: Asked) -> tuple[Built, dict[str, Stated[Any]]]:
    """What was asked for, else the module that a trusted file holds, else what the file names."""
    if checkpoint.module is not None and not asked.arch:
        name = type(checkpoint.module).__name__
        return Built(checkpoint.module, name), {"architecture": by_file(name, "the module")}
    name = asked.arch or checkpoint.arch or ""
    if not name:
        entry = f"; its entry arch '{checkpoint.class_name}' may be a class that several share"
        raise UserError(
            f"{checkpoint.path} is a {checkpoint.layout} that does not name its architecture"
            f"{entry if checkpoint.class_name else ''}; give it as --arch NAME (a timm name, or module:callable)"
        )
    if is_code(name) and not asked.arch and not asked.trust_pickle:
        here = is_here(*name.rpartition(":")[::2])
        remedy = f"give --arch {name}, or --trust-pickle if you trust the file's origin"
        raise UserError(
            f"{checkpoint.path} asks for {name} to be imported and run"
            + (f"; {remedy}" if here else ", which is not here; put it on PYTHONPATH, or give --arch")
        )
    if not asked.arch and not is_code(name):
        check_arch(checkpoint.path, name)
    # A user's code need not take what the training's architecture took.
    left = checkpoint.arch_kwargs if asked.arch and is_code(name) else {}
    file = {} if left else checkpoint.arch_kwargs
    kwargs, state = {**file, **(asked.arch_kwargs or {})}, checkpoint.weights.bare.state
    size, path = size_of(asked, checkpoint), Path(checkpoint.path)
    if size and "img_size" in kwargs:
        kwargs["img_size"] = size.value
    if file:
        check_size(path, partial(build, name, kwargs, checkpoint.num_classes), state)
    classes = asked.num_classes or checkpoint.num_classes or classes_in(name, kwargs, state)
    to = For(size.value if size else None, path.name, checkpoint.sha256, tuple(state))
    built = build(name, kwargs, classes, to=to)
    notes = (*built.notes, *([f"left to {name}, though the file states it: {left}"] if left else []))
    return replace(built, notes=notes), said_of(asked, checkpoint, file, classes)


def _choose(net: nn.Module, checkpoint: Checkpoint, asked: str) -> Chosen:
    """Say aloud where several sets of weights were there to choose from."""
    # Of a twin, only what is no weight is taken.
    key = checkpoint.choose("auto" if asked == "random" else asked)
    held, kinds, named = checkpoint.sets[key], checkpoint.kinds, asked not in ("random", "auto")
    part = named and asked not in (*WEIGHTS, *checkpoint.sets)
    if part:
        held = unwrap(below(held.bare.state, f"{asked}."))
    form = held.fitting(net.state_dict())
    kind = average_in(asked if part else "".join(form.prefixes[-1:])) or kinds.get(key) or key
    others = [f"{other} ({its})" for other, its in kinds.items() if other != key]
    notes = [f"the file holds several weights: {key} ({kind}) used, {', '.join(others)} not"] if others else []
    notes += [f"beside the weights, and left out: {', '.join(form.left[:3])}"] if form.left else []
    by = by_user(kind, key) if named else by_default(kind, key) if others else by_file(kind, key or checkpoint.where)
    return Chosen(by, form, held.bare, tuple(notes))


def _load_strictly(net: nn.Module, state: State, path: str, sized: bool) -> None:
    own = net.state_dict()
    missing, extra = [k for k in without_counters(own) if k not in state], [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if shapes and not missing and not extra:
        k = shapes[0]
        said = f"{path}: '{k}' has shape {tuple(state[k].shape)}, the architecture wants {tuple(own[k].shape)}"
        size = (
            "leave out --img-size, which they were not trained for" if sized else "give the --img-size of its training"
        )
        heads = fits(tensor_shapes(own), tensor_shapes(state))
        classes = f"give --num-classes {state[k].shape[0]}, or leave it out"
        other = "" if "pos" in k or heads else _fitting(state) or "give the --arch that it was trained with"
        raise UserError(f"{said}; {other or (size if 'pos' in k else classes)}")
    if missing or extra:
        raise UserError(
            f"{path} does not fit the architecture: {len(missing)} keys missing{_first(missing)}, "
            f"{len(extra)} unexpected{_first(extra)}; {_fitting(state) or _lacking(own, missing, extra)}"
        )
    coded = next((k for k, v in own.items() if v.is_floating_point() and not state[k].is_floating_point()), None)
    if coded is not None:
        raise UserError(
            f"{path}: '{coded}' is {state[coded].dtype}, quantised or coded; save the weights as floating point"
        )
    # Old files do not count BatchNorm's updates, which no evaluation reads.
    net.load_state_dict({**own, **state})


def _fitting(state: State) -> str:
    """An architecture that the weights do fit, as the remedy."""
    return "".join(f"they fit --arch {name}" for name in proposals(state, most=1, seconds=3))


def _lacking(own: State, missing: list[str], extra: list[str]) -> str:
    """Another architecture would not help where all but a few of the names are there."""
    if len(missing) + len(extra) > len(own) / 5:
        return "give the --arch that it was trained with"
    return "save the whole model.state_dict() of that architecture, or give the --arch-kwargs of its training"


def _first(keys: list[str]) -> str:
    return f" (such as '{keys[0]}')" if keys else ""


def _count_classes(net: nn.Module) -> int | None:
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    return linears[-1].out_features if linears else None
