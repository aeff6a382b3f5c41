"""Several processes train what one does with as many times the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from trainings import config, weights

import gradlens as gl
from gradlens.training._setup import open_model, open_split

SCRIPT = """
import sys, gradlens as gl
out, size, penalty, engine = sys.argv[1:]
gl.train(gl.TrainConfig(
    data="digits", arch="digits_cnn:width=4", out=out, limit=64, epochs=2, batch_size=int(size), bn="eval", shift=2,
    opt="sgd", lr=0.05, clip=1.0, penalty=penalty or None, engine=engine, eval_images=32, device="cpu",
), progress=False)
"""


def launch(folder, out, ranks, size, penalty, engine):
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("out=out", "out=__import__('pathlib').Path(out)"))
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(out), str(size), penalty, engine],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(gl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("penalty", "engine", "tolerance"),
    [
        ("", "finite_difference", 1e-5),
        ("gradnorm:alpha=2", "double_backward", 1e-5),
        # The step is relative to a process's own images.
        ("gradnorm:alpha=2", "finite_difference", 1e-3),
    ],
)
def test_two_processes_are_one_with_twice_the_batch(tmp_path, penalty, engine, tolerance):
    launch(tmp_path, tmp_path / "one", 1, 16, penalty, engine)
    launch(tmp_path, tmp_path / "two", 2, 8, penalty, engine)
    one, two = (weights(tmp_path / name / "last.pt") for name in ("one", "two"))
    a, b = (torch.cat([v.flatten().float() for v in c["state_dict"].values()]) for c in (one, two))
    start = open_model(config(tmp_path), open_split(config(tmp_path), "train")).net.state_dict()
    learnt = (a - torch.cat([v.flatten().float() for v in start.values()])).norm()
    assert float((a - b).norm() / learnt) < tolerance
    for alone, together in zip(one["training"]["rows"], two["training"]["rows"], strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert together["val_top1"] == pytest.approx(alone["val_top1"], abs=1 / 32)
