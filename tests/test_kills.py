"""Killed at any moment, by a signal that nobody handles, a run goes on to the same numbers, bit by bit.

Each life is a fork of this process, which has imported everything already.
"""

import os
import random
import signal
import time

import numpy as np
import pytest
from agreement import assert_same
from measured import measure
from trainings import assert_same_state, comparable, config, train, weights

from gradlens import Run
from gradlens.runs.history import History

KILLS = 30


def lived(work, seconds):
    """Whether a fork was done before it was killed; it must not end in any other way."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline, status = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and not status:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return not os.WIFSIGNALED(status)


def killed(work, check, folder, longest):
    """Thirty kills at random moments; each run that was finished at last is checked. How many were."""
    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS or runs == 0:
        out = folder / str(runs)
        began = time.monotonic()
        while not lived(lambda out=out: work(out), moments.uniform(0, longest) if kills < KILLS else 120):
            kills += 1
        # Also one that is whole already is opened again, and left as it is.
        assert time.monotonic() - began < 200
        check(out)
        runs += 1
    return runs


@pytest.mark.slow
def test_an_analysis_that_is_killed_thirty_times(tmp_path, monkeypatch):
    options = {"analyzers": "sample_asymmetry,class_selectivity", "batch_size": 4, "limit": 40, "examples": 2}
    whole = measure(**options)
    began = time.monotonic()
    measure(**options)
    seconds = time.monotonic() - began
    monkeypatch.setattr("gradlens.analysis.loop.FLUSH_SECONDS", -1)

    def check(out):
        assert_same(Run.load(out), whole)
        left = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
        files = {"run.json", "samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples/loss.npz"}
        measure(out=out, resume=True, **options)
        assert left - files <= {".lock"} or (out / "parts").exists()
        assert not (out / "parts").exists()

    assert killed(lambda out: measure(out=out, resume=True, **options), check, tmp_path, 1.3 * seconds) >= 1


@pytest.mark.slow
def test_a_training_that_is_killed_thirty_times(tmp_path):
    given = {"epochs": 4, "ema": 0.9}
    whole = train(config(tmp_path, out=tmp_path / "whole", **given))
    began = time.monotonic()
    train(config(tmp_path, out=tmp_path / "twice", **given))
    seconds = time.monotonic() - began

    def check(out):
        assert_same_state(weights(out / "last.pt"), weights(whole.checkpoint))
        assert_same_state(weights(out / "best.pt"), weights(whole.best))
        columns = [c for c in whole.history[0] if "second" not in c]
        np.testing.assert_equal(
            comparable(History.load(out).frame[columns].to_dict("records")), comparable(whole.history)
        )
        train(config(out.parent, out=out, **given), resume=True)
        assert {p.name for p in out.iterdir()} == {"last.pt", "best.pt", "history.csv", "config.json"}

    def work(out):
        train(config(out.parent, out=out, **given), resume=True)

    assert killed(work, check, tmp_path, 1.3 * seconds) >= 1
