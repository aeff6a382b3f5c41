"""Which runs a report refuses, in one line and with exit code 2: damaged, edited by hand, or of one name."""

from __future__ import annotations

import json

import pytest
from refusals import refused
from report_runs import made_run

from gradlens.cli.main import main
from gradlens.report import write_report


def _without(name):
    def change(folder):
        (folder / name).unlink()

    return change


def _edited(name, *changes):
    def edit(folder):
        content = json.loads((folder / name).read_text())
        for change in changes:
            change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


DAMAGE = {
    "incomplete": (_without("run.json"), "holds no run"),
    "without samples": (_without("samples.parquet"), "damaged"),
    "of another version": (_edited("run.json", lambda c: c.update(format=99)), "another version"),
    "edited numbers": (_edited("summary.json", lambda c: c.update(l1_mean=0)), "changed"),
    "edited readings": (_edited("run.json", lambda c: c.update(readings=[["a"]])), "changed"),
    "without hashes": (_edited("run.json", lambda c: c.pop("sha256")), "changed"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_one_line_and_exit_code_2(damage, runs, tmp_path, capsys):
    change, word = DAMAGE[damage]
    change(runs[0].save(tmp_path / "run"))
    assert main(["report", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert word in said
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["natural", "-o", "report.pdf"], ".html"),
        (["natural", "-o", "natural/samples.parquet/x/report.html"], "cannot write"),
        (["natural", "-o", "folder.html"], "cannot write"),
        (["natural", "natural"], "two runs are called natural"),
        (["natural", "robust", "--labels", "one"], "--labels"),
        (["nowhere"], "nowhere holds no run"),
        ([], "no run given"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, said, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "folder.html").mkdir(exist_ok=True)
    assert main(["report", *words]) == 2
    text = capsys.readouterr().err.strip()
    assert "\n" not in text
    assert said in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda run: setattr(run, "samples", run.samples.drop(columns="path")), "path"),
        (lambda run: setattr(run, "samples", run.samples.head(0)), "no images"),
    ],
)
def test_a_run_without_what_every_run_has_is_refused(change, word, tmp_path):
    run = made_run("net")
    change(run)
    with refused("run net cannot be reported", word):
        write_report(run, tmp_path / "report.html")
