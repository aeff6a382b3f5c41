"""Several processes, and processes that were killed, leave the very numbers of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from agreement import assert_same

import gradlens
from gradlens import Run, analyze, load_model
from gradlens.core import processes

# 53 images in batches of 8: neither the batches nor the last batch come out even.
SCRIPT = """
import os, signal, sys
import gradlens as gl
from gradlens.analysis import loop
from gradlens.analyzers import STANDARD

out, resume, kill_rank, kill_at = sys.argv[1], "--resume" in sys.argv, *map(int, sys.argv[2:4])
loop.FLUSH_SECONDS = -1
# The first look, at the pilot images, is none.
batches = -1

def count(probe):
    global batches
    batches += 1
    if batches == kill_at and int(os.environ.get("RANK", 0)) == kill_rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"twice_the_loss": 2 * probe.loss}

model = gl.load_model("gradlens.models._zoo:digits_cnn", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
options = {"limit": 53, "batch_size": 8, "progress": False, "resume": resume}
run = gl.analyze(model, "digits", [*STANDARD, count], out=out, **options)
# One write of a whole line, since two processes share this output.
os.write(1, f"finished {len(run.samples)} images after {max(batches, 0)} batches\\n".encode())
"""
NEVER = ("0", "-1")


def start(folder, out, ranks=1, kill=NEVER, resume=False):
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"] if ranks > 1 else []
    root = str(Path(gradlens.__file__).parents[1])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *launcher, str(script), str(out), *kill, *(["--resume"] if resume else [])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )


def finish(folder, out, **options):
    done = start(folder, out, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished 53 images") == options.get("ranks", 1)
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One process, from beginning to end."""
    folder = tmp_path_factory.mktemp("whole")
    assert "after 7 batches" in finish(folder, folder / "run")
    return Run.load(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_several_processes_give_the_numbers_of_one(whole, tmp_path, ranks):
    said = finish(tmp_path, tmp_path / "run", ranks=ranks)
    run = Run.load(tmp_path / "run")
    assert_same(run, whole)
    assert run.provenance["world_size"] == ranks
    shares = {2: (4, 3), 3: (3, 2, 2)}[ranks]
    assert [said.count(f"after {n} batches") for n in set(shares)] == [shares.count(n) for n in set(shares)]
    assert not (tmp_path / "run" / "parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1)])
def test_a_killed_run_is_resumed_with_the_numbers_of_one_that_was_not(whole, tmp_path, before, after):
    out = tmp_path / "run"
    killed = start(tmp_path, out, ranks=before, kill=("0", "4"))
    assert killed.returncode != 0
    assert not (out / "run.json").exists()
    assert len(list((out / "parts").glob("*.npz"))) >= 1
    refused = start(tmp_path, out)
    assert "unfinished run; add --resume" in refused.stderr
    said = finish(tmp_path, out, ranks=after, resume=True)
    assert "after 7 batches" not in said
    assert_same(Run.load(out), whole)


@pytest.mark.slow
def test_a_finished_run_is_neither_measured_again_nor_replaced_by_several_processes(whole, tmp_path):
    finish(tmp_path, tmp_path / "run")
    assert finish(tmp_path, tmp_path / "run", ranks=2, resume=True).count("after 0 batches") == 2
    refused = start(tmp_path, tmp_path / "run", ranks=2)
    assert refused.returncode != 0
    assert "holds a finished run" in refused.stderr


def test_ranks_that_share_a_run_merge_to_the_numbers_of_one(tmp_path, monkeypatch):
    model = load_model("gradlens.models._zoo:digits_cnn", normalized=True)

    def run(out=None):
        return analyze(model, "digits", out=out, limit=53, batch_size=8, progress=False)

    alone, folded = run(), model.folded()
    # torch.fx, which finds what to fold, changes torch for the whole process while it looks.
    monkeypatch.setattr(type(model), "folded", lambda self: folded)
    here, gate = threading.local(), threading.Barrier(2, timeout=120)
    monkeypatch.setattr(processes, "rank", lambda: here.rank)
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "barrier", gate.wait)

    def as_rank(rank):
        here.rank = rank
        return run(tmp_path / "run")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(as_rank, (0, 1))
    assert_same(first, alone)
    assert_same(second, alone)


def test_processes_are_left_before_python_ends(monkeypatch):
    """gloo's threads may outlive Python otherwise, and abort it after all is done."""
    calls, at_exit, member = [], [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes.atexit, "register", at_exit.append)
    monkeypatch.setattr(processes.dist, "is_initialized", lambda: bool(member))
    monkeypatch.setattr(processes.dist, "init_process_group", lambda *_, **__: member.append(1))
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: calls.append(member.pop()))
    monkeypatch.setattr(processes.dist, "rendezvous", lambda *_, **__: iter([(processes.dist.HashStore(), 0, 2)]))
    processes.join()
    processes.join()
    (leave,) = at_exit
    leave()
    leave()
    assert calls == [1]
