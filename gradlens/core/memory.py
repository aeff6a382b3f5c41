"""How many bytes are kept and how many there are to be had; work in pieces that fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gradlens.core.types import Batch, UserError

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

MEMINFO = Path("/proc/meminfo")
# The limit of a container or of a batch system's job, and what counts against it though it could be dropped.
CGROUP = Path("/sys/fs/cgroup")


def graph_bytes(output: Tensor, besides: Iterable[Tensor] = ()) -> int:
    """What the graph behind a tensor has saved for its backward pass, each storage once.

    besides: tensors that are there anyway, such as the model's parameters.
    """
    own = {_storage(t) for t in besides}
    return sum(size for storage, size in _storages(_saved(output)).items() if storage not in own)


def bytes_of(value: Any) -> int:
    """All tensors in a value, its items or its attributes, each storage once."""
    return sum(_storages(_tensors(value)).values())


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free for the asking on a device; None where nobody says."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    known = [found for found in (_of_machine(), _of_job()) if found is not None]
    return min(known) if device.type == "cpu" and known else None


def _saved(output: Tensor) -> Iterator[Tensor]:
    """The tensors that the nodes of a graph hold; none where it was freed."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [other for other, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_saved_") or name == "saved_tensors":
                try:
                    yield from _tensors(getattr(node, name))
                except RuntimeError:  # freed by a backward pass
                    break


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from _tensors(vars(value))


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    return {_storage(t): t.untyped_storage().nbytes() for t in tensors if t.layout == torch.strided}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def _of_machine() -> int | None:
    """Linux tells what new programs can have without swapping."""
    if not MEMINFO.exists():
        return None
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _of_job() -> int | None:
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit == "max":
            return None
        rows = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return int(limit) - int(used) + int(rows.get("inactive_file", 0))
    except (OSError, ValueError):
        return None


Result = TypeVar("Result")


def in_pieces(batch: Batch, size: int) -> list[Batch]:
    return [batch[slice(i, i + size)] for i in range(0, len(batch), min(size, len(batch)))]


def within_memory(function: Callable[[Batch], Result], batch: Batch, size: int) -> tuple[list[Result], int]:
    """A function of pieces of ``size`` images, halved until the device's memory suffices."""
    while True:
        try:
            return [function(piece) for piece in in_pieces(batch, size)], size
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            needed = (str(error) or type(error).__name__).splitlines()[0]
        # Outside the handler, whose traceback would keep the failed attempt's memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = min(size, len(batch)) // 2
        if size < 1:
            raise UserError(f"one image does not fit into memory ({needed}); use a smaller model or another device")


def is_out_of_memory(error: RuntimeError) -> bool:
    said = any(text in str(error) for text in ("out of memory", "can't allocate memory"))
    return said or isinstance(error, torch.OutOfMemoryError)


def peak_bytes(device: torch.device) -> int | None:
    """The most that this process has held so far, on the accelerator or in the machine; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:  # pragma: no cover - Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in kilobytes elsewhere.
    return peak if sys.platform == "darwin" else 1024 * peak
