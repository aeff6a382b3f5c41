"""A process that reads images and dies is one line, and two writers of a folder are told at once; both go on later."""

import multiprocessing
import os
import signal

import pytest
from agreement import assert_same
from measured import measure
from refusals import refused
from trainings import config, train

from gradlens.core.lock import only_writer

OPTIONS = {"batch_size": 4, "limit": 60}


def killing(probe):
    """An analyzer in whose second batch the processes that read images are lost."""
    killing.batches += 1
    if killing.batches == 2:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            child.join()
    return {"twice_the_loss": 2 * probe.loss}


def test_a_lost_worker_is_one_line_and_the_run_resumes(tmp_path):
    killing.batches = -1
    with refused("a process that reads images was lost", "--resume", "--workers"):
        measure(analyzers=[killing], out=tmp_path / "run", workers=2, **OPTIONS)
    killing.batches = 10
    resumed = measure(analyzers=[killing], out=tmp_path / "run", resume=True, **OPTIONS)
    assert killing.batches < 10 + 15  # not all of the fifteen and the first look
    assert_same(resumed, measure(analyzers=[killing], **OPTIONS))


def test_a_second_analysis_and_a_second_training_are_told_at_once(tmp_path):
    with only_writer(tmp_path / "run"):
        with refused("written by another process", str(os.getpid()), "choose another output"):
            measure(out=tmp_path / "run")
        with refused("written by another process"):
            train(config(tmp_path))
        assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    assert len(measure(out=tmp_path / "run").samples) == 60


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_writer_of_a_begun_run_is_told_of_the_first(tmp_path, resume):
    train(config(tmp_path, epochs=1))
    with only_writer(tmp_path / "run"), refused("written by another process"):
        train(config(tmp_path, epochs=1), resume=resume)


def test_parts_that_were_left_after_a_finished_run_are_cleared(tmp_path):
    run = measure(out=tmp_path / "run")
    (tmp_path / "run" / "parts").mkdir()
    (tmp_path / "run" / "parts" / "abc.npz").touch()
    assert_same(measure(out=tmp_path / "run", resume=True), run)
    assert not (tmp_path / "run" / "parts").exists()
