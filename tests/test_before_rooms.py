"""Files of the last commit before the rooms, in run format 1: opened, compared, drawn, resumed."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import gradlens as gl
from gradlens.analyzers._edge_concentration import LOCATED
from gradlens.cli.main import main
from gradlens.core.names import Name, limits
from gradlens.runs.readings import readings

OLD = Path(__file__).parent / "before_rooms"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of the files, in the folder that they were written in."""
    shutil.copytree(OLD, tmp_path / "old")
    shutil.copy(OLD / "training" / "last.pt", tmp_path / "old" / "checkpoint.pt")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def test_an_old_run_reads_by_todays_names(old):
    written = json.loads((old / "run" / "summary.json").read_text())
    run = gl.Run.load("run")
    key, tail = "edge_partial_contour_mean", "@margin[sigma=0.7]"
    assert limits(run.summary, key) == (written["edge_partial_contour_low"], written["edge_partial_contour_high"])
    assert limits(run.summary, key + tail) == (
        written[f"edge_partial_contour_low{tail}"],
        written[f"edge_partial_contour_high{tail}"],
    )
    assert run.summary["l1_mean_low"] == written["l1_mean_low"]
    assert not any(name.endswith("]_mean") for name in run.summary)
    assert run.provenance["analyzers"][5] == "robustness[eps=8/255]"
    low, high = limits(run.summary, "top1")
    assert low < run.summary["top1"] < high
    assert all(value == run.summary[k] for k, value in written.items() if k in run.summary and value is not None)
    lost = {key for key in written if key not in run.summary}
    assert len(run.summary) == len(written) + 2  # the interval of top-1
    assert {Name.parse(key).stem.rpartition("_")[2] for key in lost} == {"low", "high"}


def test_every_number_of_an_old_runs_table_has_the_limits_it_had(old):
    run = gl.Run.load("run")
    known = {reading.key: reading.values[0] for reading in readings([run])}
    with_interval = ["top1", "l1_mean", "luminance_coherence_mean", "edge_partial_contour_mean", "spectrum_slope_mean"]
    for key in [*with_interval, "edge_partial_contour_mean@margin[sigma=0.7]", "robust_accuracy[pgd10,linf,8/255]"]:
        assert known[key].low < known[key].value < known[key].high


def test_an_old_checkpoint_gives_its_old_run_again(old):
    then = gl.Run.load("run")
    now = gl.analyze("checkpoint.pt", gl.load_data("digits", limit=48), then_specs(then), batch_size=16, progress=False)
    assert now.provenance["analyzers"] == then.provenance["analyzers"]
    assert now.provenance["weights"] == then.provenance["weights"]
    # Columns have come since; those that there were keep their names, their order and their numbers.
    assert [name for name in now.samples if name in then.samples] == list(then.samples)
    assert {Name.parse(name).stem for name in set(now.samples) - set(then.samples)} == set(LOCATED)
    exact = ["index", "path", "label", "prediction"]
    pd.testing.assert_frame_equal(now.samples[exact], then.samples[exact])
    # Another processor rounds otherwise; PGD's sign may then turn at a pixel.
    close = [c for c in then.samples if c not in exact and not c.startswith("robust")]
    pd.testing.assert_frame_equal(now.samples[close], then.samples[close], rtol=1e-3, atol=1e-5)
    table = gl.compare({"then": then, "now": now})
    assert table.frame["difference"].abs().max() < 0.1


def then_specs(run):
    return [Name.parse(name).spec for name in run.provenance["analyzers"]]


def test_an_old_unfinished_run_is_resumed(old, capsys):
    analyzers = "sample_asymmetry,edge_concentration,robustness:eps=8/255"
    words = ["analyze", "checkpoint.pt", "--data", "digits", "--limit", "48", "--analyzers", analyzers, "-b", "16"]
    assert main([*words, "--examples", "2", "-o", "unfinished", "--resume"]) == 0, capsys.readouterr().err
    run = gl.Run.load("unfinished")
    assert len(run.samples) == 48
    assert run.samples["robust[pgd10,linf,8/255]"].notna().all()


def test_an_old_run_is_drawn_and_an_old_training_goes_on(old, capsys):
    assert main(["figure", "gradient_norm_distribution", "run", "-o", "norms.png"]) == 0
    assert main(["figure", "learning_curves", "training", "-o", "curves.png"]) == 0
    assert main(["report", "run", "-o", "report.html"]) == 0
    config = json.loads((old / "training" / "config.json").read_text())
    assert config["epochs"] == 2
    shutil.copy(old / "checkpoint.pt", old / "training" / "best.pt")
    words = ["train", "--data", "digits", "--arch", "digits_cnn:width=4", "--epochs", "2", "--limit", "256"]
    words += ["-o", "training", "--eval-images", "16", "--lr", "0.004", "--penalty", "edge:alpha=1", "--resume"]
    assert main(words) == 0, capsys.readouterr().err
