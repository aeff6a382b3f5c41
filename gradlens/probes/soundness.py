"""What cannot be read is measured: whether a network's outputs are logits that belong to one image alone.

A network whose forward pass is random, reads its batch or ends in a softmax gives numbers without an error,
and they are others than the reader thinks. A few images show it before the run.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gradlens.core.memory import is_out_of_memory
from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier
from gradlens.probes.probe import Probe

# Of the outputs' own spread, and of their size. Another batch size rounds differently, by 1e-6 of the size or so; other
# statistics or another draw of noise change more than this.
TOLERANCE, ROUNDING = 1e-3, 1e-5
LOOKED_AT = 16
# A call of a session looks at fewer.
SESSION = 4
# Of operations that change no value, behind which the last one that does is looked for.
PASSING = ("View", "Squeeze", "Unsqueeze", "Reshape", "Unsafe", "Alias", "Slice", "Select", "Clone", "ToCopy", "T")


def check_outputs(model: Classifier, batch: Batch, batch_size: int) -> None:
    """Refuse, with the remedy, a network whose outputs are no logits of single images.

    batch: some of the pilot images; batch_size: that of the run, which may be 1 for a network that reads its batch.
    """
    name, some = model.card.name, batch[slice(0, LOOKED_AT)]
    look = Probe(model, some)
    first = _first_logits(name, look)
    _check_finite(name, first.detach())
    _check_range(name, first)
    again = Probe(model, some).logits.detach()
    if _differ(first.detach(), again):
        raise UserError(
            f"model {name} gives other logits for the same images each time: its forward pass is random (dropout "
            "without training=self.training, added noise, random padding); make it deterministic"
        )
    if len(some) < 2 or batch_size == 1:
        return
    alone = torch.cat([Probe(model, some[slice(k, k + 1)]).logits.detach() for k in range(min(len(some), 4))])
    if _differ(first.detach()[: len(alone)], alone) or _reach_others(look):
        raise UserError(
            f"the logits of model {name} for an image depend on the other images of its batch (BatchNorm without "
            "running statistics, or a mean over the batch); give --batch-size 1, which measures each image alone"
        )


class _Seen(NamedTuple):
    """A model when it was looked at: what it was made of, how many images were looked at, and what is measured."""

    structure: list[Any]
    several: bool
    fast: Classifier
    values: dict[str, Tensor]


_seen: WeakKeyDictionary[Classifier, _Seen] = WeakKeyDictionary()


def quickest(model: Classifier, batch: Batch) -> Classifier:
    """The copy that a run would measure, kept until a weight, a hook or a setting of the model changes.

    Before its first use the model's outputs are checked, and the copy's compared with them.
    """
    seen, several = _seen.get(model), len(batch) > 1
    if seen and seen.several >= several and seen.structure == _structure(model) and _same_values(model, seen.values):
        return seen.fast
    fast = sound_copy(model, batch[slice(0, SESSION)], SESSION)
    _seen[model] = _Seen(_structure(model), several, fast, _values(model, fast))
    return fast


def sound_copy(model: Classifier, batch: Batch, batch_size: int) -> Classifier:
    """The folded copy where it gives what the model as loaded gives, which is found to give logits at all."""
    check_outputs(model, batch, batch_size)
    fast = model.folded()
    if fast is model or agree(fast, model, batch):
        return fast
    logging.getLogger("gradlens").warning(
        f"{model.card.name}: its copy with BatchNorm folded gives other logits; it is measured as loaded"
    )
    return model


def _structure(model: Classifier) -> list[Any]:
    """Its modules with their hooks and settings, and where and in what state its tensors are."""
    modules = [(name, id(m), type(m), *_settings(m)) for name, m in model.named_modules()]
    return [model.card, modules, [(name, id(t), t.device, t.dtype, t._version) for name, t in _tensors(model).items()]]


def _settings(module: nn.Module) -> list[Any]:
    """Plain values by what they are, of anything else which object it is."""
    plain, own = (int, float, str, tuple, list, dict, set), vars(module)
    hooks = [sorted(v) for k, v in own.items() if k.endswith("_hooks") and v]
    kept = {k: v for k, v in own.items() if k != "training" and not (k.startswith("_") and isinstance(v, dict))}
    return [hooks, [(k, repr(v) if isinstance(v, plain) else id(v)) for k, v in kept.items()]]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _values(model: Classifier, fast: Classifier) -> dict[str, Tensor]:
    """What the weights were: the copy's own where folding left them. No version counts what goes through ``.data``."""
    if fast is model:
        return {}
    copied = _tensors(fast)
    same = {name: name in copied and torch.equal(copied[name], t) for name, t in _tensors(model).items()}
    return {name: copied[name] if same[name] else t.detach().clone() for name, t in _tensors(model).items()}


def _same_values(model: Classifier, values: dict[str, Tensor]) -> bool:
    now = _tensors(model)
    return all(torch.equal(now[name], value) for name, value in values.items())


def agree(fast: Classifier, loaded: Classifier, batch: Batch) -> bool:
    """Whether a faster copy gives the logits of the model as it was loaded, to rounding."""
    some = batch[slice(0, LOOKED_AT)]
    one, other = (Probe(model, some).logits.detach() for model in (fast, loaded))
    return one.shape == other.shape and not _differ(other, one)


def _first_logits(name: str, look: Probe) -> Tensor:
    """Refuse what the network itself refuses, and what no gradient comes back from."""
    shape = tuple(look.batch.image.shape[1:])
    try:
        logits = look.logits
    except UserError:
        raise
    except Exception as error:  # a user's forward may raise anything
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        first = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"model {name} cannot take images of shape {shape} ({type(error).__name__}: {first[:160]}); look at "
            "their size, and at their channels, of which there is one mean and std each"
        ) from error
    if not logits.requires_grad:
        raise UserError(
            f"the logits of model {name} are cut off from its images: its forward runs under no_grad, detaches, leaves "
            "torch, or is frozen or quantised for inference; give the network in the form that can be trained"
        )
    return logits


def _reach_others(look: Probe) -> bool:
    """Whether an image's logits have a gradient with respect to another image, where zero is exact."""
    logits = look.logits
    vector = torch.zeros_like(logits)
    # Uneven, since what all logits share has no weight in some networks' sums.
    vector[0] = torch.linspace(1, 2, logits.shape[1])
    others = look.pulled_back(vector)[1:]
    return bool((others.nan_to_num(0, 0, 0) != 0).any())


def _check_finite(name: str, logits: Tensor) -> None:
    if not logits.isfinite().any():
        raise UserError(
            f"the logits of model {name} are NaN or infinite for each of the {len(logits)} images looked at; look at "
            "its weights, its normalisation and its precision"
        )


def _check_range(name: str, logits: Tensor) -> None:
    """A softmax shows in its sums and a sigmoid in the last operation; log-probabilities are logits, too."""
    values = logits.detach().double()
    within = bool((values >= 0).all()) and bool((values <= 1).all())
    sums = within and torch.allclose(values.sum(1), torch.ones((), dtype=values.dtype, device=values.device), atol=1e-3)
    last = _last_operation(logits)
    if sums or (within and last in ("Sigmoid", "Softmax")):
        end = "sigmoid" if last == "Sigmoid" else "softmax"
        raise UserError(
            f"the outputs of model {name} are probabilities (between 0 and 1{', of sum 1' if sums else ''}), and a "
            f"gradient of cross-entropy wants logits; return what goes into its last {end}"
        )


def _last_operation(output: Tensor) -> str:
    node = output.grad_fn
    while node is not None:
        name = node.name().removeprefix("torch::autograd::").rstrip("0123456789").removesuffix("Backward")
        if not name.startswith(PASSING) or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return ""


def _differ(one: Tensor, other: Tensor) -> bool:
    """Beyond rounding, by the logits' spread and size; what is NaN in both is the same."""
    known = one.isfinite() & other.isfinite()
    if not torch.equal(one.isfinite(), other.isfinite()) or not known.any():
        return not torch.equal(one.isfinite(), other.isfinite())
    values = one[known].double()
    rounding = TOLERANCE * values.std(correction=0) + ROUNDING * values.abs().max()
    return bool((values - other[known].double()).abs().max() > rounding)
