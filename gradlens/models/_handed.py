"""Networks as their users have them: what can be measured as it is, what in a copy, and what not at all."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradlens.core.surroundings import undisturbed
from gradlens.core.types import UserError
from gradlens.models._activations import tried
from gradlens.models.architectures import Built
from gradlens.models.normalisation import NONE, Normalisation


def measurable(built: Built, name: str) -> Built:
    """The network, or a copy of it in float32 that autograd can be asked about; the notes say of which.

    Raises UserError for a network without values (lazy, or on the meta device) and for a quantised one,
    through whose integers no gradient flows.
    """
    net = built.net
    tensors = [*net.parameters(), *net.buffers()]
    _check_values(name, tensors)
    _check_not_quantised(name, net, tensors)
    kinds = {t.dtype for t in tensors if t.is_floating_point()}
    short = sorted(str(k).removeprefix("torch.") for k in kinds if k.itemsize < torch.float32.itemsize)
    if not short and not any(t.is_inference() for t in tensors):
        return built
    try:
        with undisturbed():
            twin = copy.deepcopy(net)
            twin = twin.float() if short else twin
    except Exception as error:  # a user's module may hold anything
        made = f"in {short[0]}" if short else "made under inference_mode"
        raise UserError(
            f"{name} is {made} and cannot be copied to float32 ({type(error).__name__}); give model.float(), made "
            "outside of inference_mode"
        ) from error
    said = (f"weights in {' and '.join(short)}, measured as a float32 copy of the same values",) if short else ()
    return replace(built, net=twin, notes=(*built.notes, *said))


def by_channel(normalisation: Normalisation, net: nn.Module) -> Normalisation:
    """One mean and std for each channel that the network takes, where it normalises inside."""
    count = channels_of(net) if normalisation.same_as(NONE) else 3
    return normalisation if count == 3 else Normalisation((0.0,) * count, (1.0,) * count)


def channels_of(net: nn.Module) -> int:
    """3, unless the network takes no such images and begins with a convolution of 1 or 4."""
    first = next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
    return first if first in (1, 4) and not tried(net, 3) else 3


def _check_values(name: str, tensors: list[Tensor]) -> None:
    if any(map(is_lazy, tensors)):
        raise UserError(f"{name} has lazy layers without weights yet; run it once on images, then load its weights")
    if any(t.is_meta for t in tensors):
        raise UserError(
            f"weights of {name} are on the meta device, which holds no values; give it to_empty(device='cpu') and "
            "load_state_dict, or load_state_dict(…, assign=True)"
        )


def _check_not_quantised(name: str, net: nn.Module, tensors: list[Tensor]) -> None:
    layer = next((type(m).__name__ for m in net.modules() if "quantized" in type(m).__module__), None)
    integer = next((type(t).__name__ for t in net.parameters() if not (t.is_floating_point() or t.is_complex())), None)
    if layer or integer or any(t.is_quantized for t in tensors):
        raise UserError(
            f"{name} is quantised ({layer or f'weights of integers, {integer}'}), and no gradient flows through "
            "integers; give the floating-point network that it was made from"
        )
