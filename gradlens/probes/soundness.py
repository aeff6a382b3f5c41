"""What cannot be read is measured: whether a network's outputs are logits that belong to one image alone.

A network whose forward pass is random, reads its batch or ends in a softmax gives numbers without an error,
and they are others than the reader thinks. A few images show it before the run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.types import Batch, UserError
from gradlens.models import Classifier
from gradlens.probes.probe import Probe

# Of the outputs' own spread, and of their size. Another batch size rounds differently, by 1e-6 of the size or so; other
# statistics or another draw of noise change more than this.
TOLERANCE, ROUNDING = 1e-3, 1e-5
LOOKED_AT = 16
# Of operations that change no value, behind which the last one that does is looked for.
PASSING = ("View", "Squeeze", "Unsqueeze", "Reshape", "Unsafe", "Alias", "Slice", "Select", "Clone", "ToCopy", "T")


def check_outputs(model: Classifier, batch: Batch, batch_size: int) -> None:
    """Refuse, with the remedy, a network whose outputs are no logits of single images.

    batch: some of the pilot images; batch_size: that of the run, which may be 1 for a network that reads its batch.
    """
    name, some = model.card.name, batch[slice(0, LOOKED_AT)]
    look = Probe(model, some)
    first = look.logits
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
    if _differ(first.detach()[: len(alone)], alone):
        raise UserError(
            f"the logits of model {name} for an image depend on the other images of its batch (BatchNorm without "
            "running statistics, or a mean over the batch); give --batch-size 1, which measures each image alone"
        )


def agree(fast: Classifier, loaded: Classifier, batch: Batch) -> bool:
    """Whether a faster copy gives the logits of the model as it was loaded, to rounding."""
    some = batch[slice(0, LOOKED_AT)]
    one, other = (Probe(model, some).logits.detach() for model in (fast, loaded))
    return one.shape == other.shape and not _differ(other, one)


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
