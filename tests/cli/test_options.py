"""Flags that commands share: plugins, manifests, and where they stand."""

import json
import shutil

from commands import run


def test_flags_may_stand_before_the_checkpoint(place):
    line = "analyze --mean .5 .5 .5 --std .5 .5 .5 --limit 20 -b 7 -j 0 --data digits good.pt -o flags_first"
    assert run(place, line) == 0


def test_a_plugin_adds_an_analyzer_by_name(place):
    (place / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from gradlens.core.registry import analyzer\n"
        "from gradlens.analyzers import Analyzer\n"
        "@analyzer\n@dataclass(frozen=True)\nclass SignedMean(Analyzer):\n"
        "    factor: float = 1.0\n"
        "    def measure(self, probe):\n"
        "        return {'signed_mean': self.factor * probe.gradient().mean((1, 2, 3))}\n"
    )
    line = "analyze good.pt --data digits --limit 20 --plugin mine.py --analyzers signed_mean:factor=1/2 -o mine"
    try:
        assert run(place, line) == 0
    finally:
        from gradlens.core.registry import analyzer

        analyzer._methods.pop("signed_mean", None)
    import gradlens as gl

    assert "signed_mean[factor=0.5]" in gl.Run.load(place / "mine").samples


MANIFEST = """
[second]
path = "good.pt"
weights = "random"
order = 2

[first]
path = "good.pt"
order = 1
group = "baselines"
color = "#0072B2"
"""


def test_a_manifest_names_orders_and_loads_the_models(place, capsys):
    (place / "models.toml").write_text(MANIFEST)
    assert run(place, "analyze --models models.toml --data digits --limit 30 --json -o study") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    assert [(r["model"], r["folder"]) for r in result] == [("first", "study/first"), ("second", "study/second")]
    provenance = json.loads((place / "study" / "first" / "run.json").read_text())
    assert provenance["model"]["display"] == {"label": "first", "group": "baselines", "order": 1, "color": "#0072B2"}
    assert json.loads((place / "run" / "summary.json").read_text())["l1_mean"] == result[0]["l1_mean"]


def test_a_manifest_orders_and_colours_a_figure_and_is_explained(place, capsys):
    (place / "models.toml").write_text(MANIFEST)
    assert run(place, "analyze --models models.toml --data digits --limit 30 -o shown") == 0
    assert run(place, "figure edge_concentration shown/second shown/first --models models.toml -o shown.svg") == 0
    drawn = (place / "shown.svg").read_text()
    assert drawn.index(">first<") < drawn.index(">second<")
    assert run(place, "figure edge_concentration run --models models.toml -o shown.svg") == 2
    assert "'good'" in capsys.readouterr().err
    assert run(place, "info --models models.toml") == 0
    assert capsys.readouterr().out.count("digits_cnn") >= 2


def test_trainings_are_analyzed_together_under_their_names(place, capsys):
    for name in ("lr=0.1/s0", "lr=0.1/s1", "other"):
        (place / "sweep" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "good.pt", place / "sweep" / name / "best.pt")
    line = "analyze sweep/lr=0.1 sweep/other/best.pt --data digits --limit 20 --analyzers sample_asymmetry --json"
    assert run(place, f"{line} -o together") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    names = ["lr=0.1-s0", "lr=0.1-s1", "other"]
    assert [(r["model"], r["folder"]) for r in result] == [(name, f"together/{name}") for name in names]
    assert run(place, f"{line} -o named --name one,two,three --weights auto,random") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    assert [r["model"] for r in result] == [
        f"{n}-{kind}" for n in ("one", "two", "three") for kind in ("auto", "random")
    ]
    assert run(place, f"{line} --name one,two") == 2
    assert "2 names for 3 checkpoints" in capsys.readouterr().err
