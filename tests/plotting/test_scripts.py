"""The papers' figures: each script renders its own from the folders it is given, or says what it wants."""

import runpy
import sys
from pathlib import Path

import pytest
from drawables import given, write

FOLDER = Path(__file__).parents[2] / "figures"
SCRIPTS = sorted(file for file in FOLDER.glob("*.py") if "from _render import" in file.read_text())


def run(script, folders, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, folders)])
    runpy.run_path(str(script))


def test_every_figure_of_the_first_paper_has_its_script():
    papers = {"accuracy_against_eps", "perturbation_gallery", "accuracy_over_epochs", "penalty_weight_sweep"}
    papers |= {"conditional_norm_distribution", "channel_distribution", "edge_gradient_correlation", "gradient_gallery"}
    assert papers <= {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_renders_the_figure_of_its_name(script, tmp_path, monkeypatch, capsys):
    for drawable in given(script.stem, 2):
        write(drawable, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    run(script, sorted((tmp_path / "runs").iterdir()), monkeypatch)
    assert capsys.readouterr().out == f"{script.stem}.pdf\n"
    assert (tmp_path / f"{script.stem}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("script", SCRIPTS[:2], ids=lambda script: script.stem)
def test_a_script_says_in_one_line_what_it_wants(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"gradlens-demo.* holds no run") as stopped:
        run(script, [], monkeypatch)
    assert "\n" not in str(stopped.value)
