"""The memory that is free is what the machine or the job says."""

import torch

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
