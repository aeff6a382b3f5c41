"""Free memory is what the machine or the job says, kept memory is counted once, and work goes in pieces that fit."""

import pytest
import torch
from refusals import refused

from gradlens.core import memory


def test_the_free_memory_is_the_machines_or_the_jobs(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert memory.available_bytes(cpu) == 4000 * 1024
    for name, text in (
        ("memory.max", "3000000"),
        ("memory.current", "2500000"),
        ("memory.stat", "inactive_file 200000"),
    ):
        (tmp_path / name).write_text(text)
    assert memory.available_bytes(cpu) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(cpu) == 4000 * 1024
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    assert memory.available_bytes(cpu) is None


def test_what_is_kept_is_counted_once_however_it_is_held():
    values = torch.zeros(10, 100)
    assert memory.bytes_of(values) == 4000
    assert memory.bytes_of({"a": values, "b": [values[2:5], values.double()]}) == 4000 + 8000


def test_a_graph_keeps_what_its_backward_pass_needs_until_then():
    weight, image = torch.ones(50, requires_grad=True), torch.ones(50)
    product = (weight * image).exp()
    # The product saves the image, the exponential its own result.
    assert memory.graph_bytes(product) == 2 * 200
    assert memory.graph_bytes(product, besides=[image]) == 200
    product.sum().backward()
    assert memory.graph_bytes(product, besides=[image]) == 0


def hungry(limit, said="CUDA out of memory. Tried 2 GiB."):
    def function(piece):
        if len(piece) > limit:
            raise RuntimeError(said)
        return piece.index.tolist()

    return function


def test_work_is_halved_until_it_fits(digits):
    found, size = memory.within_memory(hungry(10), digits, 64)
    assert size == 8
    assert [index for piece in found for index in piece] == digits.index.tolist()
    assert memory.within_memory(hungry(64), digits, 1000)[1] == 1000


def test_what_never_fits_or_fails_otherwise_is_said(digits):
    with refused("one image does not fit into memory", "Tried 2 GiB", "another device"):
        memory.within_memory(hungry(0), digits, 64)
    with pytest.raises(RuntimeError, match="shapes"):
        memory.within_memory(hungry(0, "shapes do not match"), digits, 64)
