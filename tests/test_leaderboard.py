"""Runs beside public tables: which model is which, and rank correlations over and within families."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy import stats

from gradlens import Run, leaderboard
from gradlens.cli.main import main
from gradlens.runs.leaderboard import read_table

NAMES = [f"{family}{k}" for family in ("resnet", "swin_", "vit_") for k in range(5)]
RNG = np.random.default_rng(0)
TOP1 = dict(zip(NAMES, 70 + 10 * RNG.random(len(NAMES)), strict=True))
READINGS = [["L1 norm, mean", "l1_mean", "nats"], ["top-1", "top1", ""]]


def fake(name, l1, spec=None, label=None, group=None, options=None, **summary):
    model = {"spec": spec or name, "display": {"group": group} if group else None}
    provenance = {"arch": name, "model": model, "load_model": options, "readings": READINGS, "weights": name}
    samples = pd.DataFrame({"path": ["0", "1"], "l1": [l1, l1 + 2], "text": ["a", "b"]})
    return Run(
        samples, {"model": label or name, "l1_mean": l1, "l1_low": 0.0, "images": 2, **summary}, provenance=provenance
    )


@pytest.fixture
def runs():
    return [fake(name, np.random.default_rng(i).random()) for i, name in enumerate(NAMES)]


@pytest.fixture
def table(tmp_path):
    """Written as timm writes it, with thousands in quotes."""
    lines = [f'{name},{top1:.3f},{100 - top1:.3f},"1,014.45",224,0.900,bicubic' for name, top1 in TOP1.items()]
    head = "model,top1,top1_err,param_count,img_size,crop_pct,interpolation"
    (tmp_path / "results.csv").write_text("\n".join([head, *lines, "other_model,1,99,1.0,224,0.9,bicubic"]))
    return tmp_path / "results.csv"


def entry(clean, robust, architecture="ResNet-50"):
    """RobustBench's fields, whose numbers are strings."""
    return {
        "name": "A Title",
        "dataset": "imagenet",
        "architecture": architecture,
        "eps": "4/255",
        "clean_acc": clean,
        "reported": "",
        "autoattack_acc": robust,
        "unreliable": False,
    }


def rho(found, scope="all models", statistic="l1_mean"):
    frame = found.frame
    return frame[(frame["scope"] == scope) & (frame["statistic"] == statistic)].iloc[0]


def test_rank_correlation_over_and_within_families(runs, table):
    found = leaderboard(runs, table)
    l1, top1 = np.array([r.summary["l1_mean"] for r in runs]), np.round(list(TOP1.values()), 3)
    whole = rho(found)
    assert whole["rho"] == pytest.approx(stats.spearmanr(l1, top1).statistic)
    assert (whole["models"], whole["families"]) == (15, 3)
    assert whole["low"] < whole["rho"] < whole["high"]
    without = [stats.spearmanr(np.delete(l1, s), np.delete(top1, s)).statistic for s in np.split(np.arange(15), 3)]
    assert (whole["leave_out_low"], whole["leave_out_high"]) == pytest.approx((min(without), max(without)))
    assert rho(found, "swin")["rho"] == pytest.approx(stats.spearmanr(l1[5:10], top1[5:10]).statistic)
    assert rho(found, "swin")["models"] == 5
    assert "15 models of 3 families" in found.title
    assert set(found.frame["statistic"]) == {"l1_mean"}


def test_timms_thousands_are_numbers(table):
    assert read_table(table).loc["vit_0", "param_count"] == 1014.45


def test_natural_and_robust_clusters_make_rho_large_and_the_table_shows_it(table):
    offset = {"resnet": 0.0, "swin": 5.0, "vit": 10.0}
    by_family = [
        fake(n, offset[n.rstrip("0123456789_")] + np.random.default_rng(i).random()) for i, n in enumerate(NAMES)
    ]
    shifted = pd.read_csv(table, thousands=",").set_index("model")
    shifted["top1"] = [offset.get(n.rstrip("0123456789_"), 0) - i % 5 * 0.1 for i, n in enumerate(shifted.index)]
    shifted.to_csv(table)
    found = leaderboard(by_family, table)
    assert rho(found)["rho"] > 0.8
    assert abs(rho(found, "within families")["rho"]) < 0.5
    assert "within" in repr(found)


def test_robustbench_is_read_from_a_folder_a_file_or_a_mapping(tmp_path, runs):
    folder = tmp_path / "Linf"
    folder.mkdir()
    entries = {name: entry(f"{TOP1[name]:.2f}", f"{TOP1[name] - 30:.2f}") for name in NAMES}
    for name, said in entries.items():
        (folder / f"{name}.json").write_text(json.dumps(said))
    (tmp_path / "all.json").write_text(json.dumps(entries))
    found = leaderboard(runs, folder, "autoattack_acc")
    assert rho(found)["models"] == 15
    pd.testing.assert_frame_equal(leaderboard(runs, tmp_path / "all.json", "autoattack_acc").frame, found.frame)
    assert read_table(folder / "vit_0.json").index.tolist() == ["vit_0"]
    assert read_table(folder)["clean_acc"].dtype == float
    with refused("autoattack_acc", "clean_acc"):
        leaderboard(runs, folder, "top1")
    (folder / "corruptions").mkdir()
    (folder / "corruptions" / "vit_0.json").write_text(json.dumps(entries["vit_0"]))
    with refused("holds vit_0 twice", "threat model"):
        leaderboard(runs, folder, "clean_acc")


def test_a_model_without_the_accuracy_is_left_out(tmp_path, runs):
    entries = {name: entry("70", "" if name == "vit_0" else f"{TOP1[name]:.2f}") for name in NAMES}
    (tmp_path / "t.json").write_text(json.dumps(entries))
    assert rho(leaderboard(runs, tmp_path / "t.json", "autoattack_acc"))["models"] == 14
    constant = leaderboard(runs, tmp_path / "t.json", "clean_acc")
    assert np.isnan(rho(constant)["rho"])
    assert constant.missing["l1_mean"] == "the same for every model"


def test_models_are_known_by_name_or_origin_and_never_by_architecture(table, runs):
    named = [
        fake("resnet0", 1.0, spec="timm:resnet0", label="natural"),
        fake("resnet1", 2.0, spec="ckpts/resnet1.pth.tar", label="robust"),
        fake("resnet2", 3.0, spec="mine.pt", label="mine"),
        fake("resnet3", 4.0, spec="timm:resnet3", label="resnet3-random", options={"weights": "random"}),
        fake("resnet4", 5.0, spec="timm:resnet4", label="resnet4", options={"activation": "gelu"}),
    ]
    found = leaderboard([*named[:1], *named[2:], *runs[5:]], table)
    assert rho(found)["models"] == 11
    assert "not in the table: mine, resnet3-random, resnet4" in found.notes
    assert rho(leaderboard([*named, *runs[5:]], table))["models"] == 12
    with refused("'mine'", "label runs"):
        leaderboard([named[2]], table)
    with refused("resnet0 and natural", "are both resnet0"):
        leaderboard([*runs, named[0]], table)


def test_families_are_the_manifests_groups_or_a_mappings_names(table):
    grouped = [fake(name, i % 4 + i / 100, group="odd" if i % 2 else "even") for i, name in enumerate(NAMES)]
    assert rho(leaderboard(grouped, table), "odd")["models"] == 7
    mapped = leaderboard({"first": grouped[:6], "rest": grouped[6:]}, table)
    assert rho(mapped, "rest")["models"] == 9
    assert np.isnan(rho(mapped)["low"])
    assert "needs 3" in mapped.missing["l1_mean"]


def test_statistics_are_summary_numbers_or_means_of_columns(runs, table):
    found = leaderboard(runs, table, columns=["l1", "l1_mean"])
    assert rho(found, statistic="l1")["rho"] == rho(found)["rho"]
    with refused("'l3'", "l1"):
        leaderboard(runs, table, columns=["l3"])
    with refused("'text'"):
        leaderboard(runs, table, columns=["text"])
    for run in runs:
        run.provenance["readings"] = []
    assert set(leaderboard(runs, table).frame["statistic"]) == {"l1_mean"}


def test_too_few_models_have_a_reason(runs, table):
    found = leaderboard(runs[:3], table)
    assert np.isnan(rho(found)["rho"])
    assert "needs 4 models" in found.missing["l1_mean"]
    runs[0].summary["l1_mean"] = None
    assert rho(leaderboard(runs, table))["models"] == 14


def test_runs_on_other_data_are_refused(runs, table):
    runs[3].provenance["data"] = "photos"
    with refused("data None against photos"):
        leaderboard(runs, table)
    with refused("no run given"):
        leaderboard([], table)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "a,b\n1,2", "no column 'model'"),
        ("t.csv", "", "cannot read"),
        ("t.json", "{", "cannot read"),
        ("t.json", "[1]", "holds a list"),
        ("nothing", None, "holds no .json"),
    ],
)
def test_other_files_are_refused(tmp_path, runs, name, content, said):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(content)
    with refused(said, "give"):
        leaderboard(runs, tmp_path / name)


def test_the_command_joins_a_table(tmp_path, runs, table, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for run in runs:
        run.save(f"runs/{run.label}")
    line = f"compare runs/* --table {table} --against top1 -o rho.csv --json"
    assert main(line.split()) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines()[:-1])) <= 100
    assert json.loads(said.splitlines()[-1])["rows"][0]["models"] == 15
    assert pd.read_csv("rho.csv")["scope"].tolist() == ["all models", "within families", "resnet", "swin", "vit"]
    assert main(f"compare A=runs/resnet* B=runs/vit* --table {table} --against top2".split()) == 2
    assert "top1" in capsys.readouterr().err
