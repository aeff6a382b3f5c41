"""What a caller has switched on around a call, and how a measurement is kept from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Torch as it starts, whatever is switched on around the call; also a decorator.

    No autocast and no inference mode, new tensors in float32 on the CPU, and float32 in full.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps", "xpu")):
            stack.enter_context(torch.autocast(kind, enabled=False))
        # As a mode it is called at every operation, so only where another one is to be overruled.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.enter_context(full_float32())
        yield


@contextmanager
def full_float32() -> Iterator[None]:
    """Matrix products and convolutions in float32 rather than in TF32 or another shorter type."""
    switches = [s for s in _precision_switches() if s[1] != s[2]]
    try:
        for turn, _, full in switches:
            turn(full)
        yield
    finally:
        for turn, before, _ in switches:
            turn(before)


def _precision_switches() -> list[tuple[Callable, Any, Any]]:
    """Each as ``(setter, present value, value of full precision)``."""
    backends: Any = torch.backends
    try:
        return [
            (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision(), "highest"),
            (partial(setattr, backends.cudnn, "allow_tf32"), backends.cudnn.allow_tf32, False),
        ]
    except RuntimeError:
        # Who has used torch's newer switches cannot read the older ones any more.
        gpu, cpu = (backends.cuda.matmul, backends.cudnn.conv), (backends.mkldnn.matmul, backends.mkldnn.conv)
        return [(partial(setattr, o, "fp32_precision"), o.fp32_precision, "ieee") for o in gpu + cpu]
