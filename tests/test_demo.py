"""``gradlens demo`` as a new user runs it: what it writes, and that its numbers say what it is shown for."""

import json

import pytest

from gradlens import Run
from gradlens.cli.demo import FIGURES, RECIPES
from gradlens.cli.main import main

ROBUST = "robust_accuracy[pgd10,linf,4/255]"
ON_EDGES = "edge_auc_canny_local_mean"


@pytest.mark.slow
def test_demo_trains_measures_compares_and_draws(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "-o", str(out), "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["report"] == str(out / "report.html")
    runs = {name: Run.load(out / name) for name in RECIPES}
    top1, robust, edges = ({n: run.summary[key] for n, run in runs.items()} for key in ("top1", ROBUST, ON_EDGES))
    assert min(top1.values()) > 60
    # Each does what it is there for: GradNorm withstands attacks, and EdgeReg's gradients lie on Canny's edges, which
    # it was not trained on.
    assert robust["gradnorm"] > robust["natural"] + 15
    assert edges["edge"] > max(edges["natural"], edges["gradnorm"]) + 0.05
    assert all(f"{name} − natural" in printed for name in ("gradnorm", "edge"))
    assert {file.stem for file in (out / "figures").glob("*.pdf")} == set(FIGURES)
    # Again into the same folder replaces it, into another's it does not.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert main(["demo", "-o", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "thesis.tex").exists()
