"""A run survives an interruption bit by bit, and is not resumed with other settings."""

import shutil

import numpy as np
import pytest
from agreement import assert_same
from measured import Counting, classifier, measure
from refusals import refused

from gradlens import Interrupted, Run, load_data
from gradlens.analyzers import STANDARD


def interrupted(out, **options):
    with pytest.raises(Interrupted, match="SIGTERM"):
        measure(analyzers=[*STANDARD, Counting(stop_at=2)], out=out, **options)
    return out


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that was stopped after its second batch of four."""
    return interrupted(tmp_path_factory.mktemp("unfinished") / "run")


def test_an_analysis_with_an_output_leaves_the_same_folder(baseline, tmp_path):
    run = measure(analyzers="standard", out=tmp_path / "run")
    assert_same(run, baseline)
    assert_same(Run.load(tmp_path / "run"), baseline)
    assert not (tmp_path / "run" / "parts").exists()


def test_an_analysis_without_an_output_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measure()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_is_resumed_bit_by_bit(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path / "run")
    rest, all_at_once = Counting(), Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", resume=True)
    whole = measure(analyzers=[*STANDARD, all_at_once])
    assert_same(resumed, whole)
    assert_same(Run.load(tmp_path / "run"), whole)
    assert (rest.batches, all_at_once.batches) == (2, 4)


def test_a_run_can_be_interrupted_twice(tmp_path):
    for _ in range(2):
        interrupted(tmp_path / "run", batch_size=10, resume=True)
    rest = Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", batch_size=10, resume=True)
    assert_same(resumed, measure(analyzers=[*STANDARD, Counting()], batch_size=10))
    assert rest.batches == 2


def test_a_failing_analyzer_loses_no_finished_batch(tmp_path):
    def failing(probe):
        if (probe.batch.index > 200).any():
            raise ZeroDivisionError
        return {"twice_the_loss": 2 * probe.loss}

    with pytest.raises(ZeroDivisionError):
        measure(analyzers=[*STANDARD, failing], out=tmp_path / "run")
    rest = Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", resume=True)
    assert_same(resumed, measure(analyzers=[*STANDARD, Counting()]))
    assert 0 < rest.batches < 4


def test_rows_whose_batch_was_not_committed_are_measured_again(tmp_path, monkeypatch):
    real, commits = np.savez, []

    def savez(*args, **kwargs):
        commits.append(1)
        if len(commits) > 2:
            raise RuntimeError("the power failed")
        return real(*args, **kwargs)

    monkeypatch.setattr("gradlens.analysis.loop.FLUSH_SECONDS", -1)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        with pytest.raises(RuntimeError, match="power"):
            measure(out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "parts").glob("*.parquet"))) == 3
    assert_same(measure(out=tmp_path / "run", resume=True), measure())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, ["seed = 0, now 1"]),
        ({"batch_size": 8}, ["batch_size = 16, now 8"]),
        ({"limit": 50}, ["images = 60, now 50"]),
        ({"data": load_data("digits", split="test")}, ["data = digits/val, now digits/test"]),
        ({"precision": "bfloat16"}, ["precision = float32, now bfloat16"]),
        ({"model": lambda: classifier(seed=1)}, ["weights = "]),
        ({"model": lambda: classifier(activation="relu")}, ["activation = gelu, now relu"]),
        ({"model": lambda: classifier(mean=(0.5, 0.5, 0.5))}, ["mean = [0.5, 0.4, 0.3], now [0.5, 0.5, 0.5]"]),
        ({"analyzers": "sample_asymmetry"}, ["analyzers = "]),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_a_run_is_not_resumed_with_other_settings(unfinished, finished, state, changed, words):
    out = {"unfinished": unfinished, "finished": finished}[state]
    options = {"analyzers": [*STANDARD, Counting()], **changed}
    if "model" in options:
        options["model"] = options["model"]()
    with refused(str(out), "choose another output", *words):
        measure(out=out, resume=True, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    measure(analyzers=[*STANDARD, Counting()], out=out)
    return out


def test_an_output_that_holds_a_run_is_refused_unless_it_is_resumed(unfinished, finished):
    with refused(str(finished), "a finished run", "choose another output"):
        measure(analyzers=[*STANDARD, Counting()], out=finished)
    with refused(str(unfinished), "an unfinished run", "--resume"):
        measure(analyzers=[*STANDARD, Counting()], out=unfinished)
    again = Counting()
    assert_same(measure(analyzers=[*STANDARD, again], out=finished, resume=True), Run.load(finished))
    assert again.batches < 0  # not even a first look


def test_an_output_in_which_nothing_was_measured_can_be_used_again(tmp_path):
    with refused("labels up to 9"):
        measure(classifier(classes=5), out=tmp_path / "run")
    assert len(measure(out=tmp_path / "run").samples) == 60


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with refused("cannot write", str(out), "choose another output"):
            measure(out=out)


def test_an_unfinished_run_is_refused_by_name(unfinished):
    with refused("unfinished run", "--resume"):
        Run.load(unfinished)
