"""The public door: what registers through it has the rights of ours, and what it does wrong is said in one line."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

import gradlens as gl
from gradlens import extend
from gradlens.cli.main import main
from gradlens.core.names import limits
from gradlens.core.registry import KINDS
from gradlens.runs.readings import readings
from gradlens.stats.intervals import mean_interval

pytestmark = pytest.mark.usefixtures("no_plugin_stays")


def run_of(model, analyzers, **options):
    return gl.analyze(model, gl.load_data("digits", limit=40), analyzers, examples=0, progress=False, **options)


def test_the_door_is_open():
    assert set(extend.__all__) == {
        *("analyzer", "study", "objective", "edge_map", "attack", "corruption", "penalty", "figure"),
        *("Analyzer", "Study", "Reading", "Summary", "Tally"),
    }
    assert all(getattr(extend, name) is not None for name in extend.__all__)
    assert {registry.kind.replace(" ", "_") for registry in KINDS.values()} <= set(extend.__all__)


def brightness(probe):
    return {"brightness": probe.batch.image.mean((1, 2, 3))}


def named(cnn):
    extend.analyzer(brightness)
    return run_of(cnn, ["brightness"])


def inline(cnn):
    return run_of(cnn, [brightness])


def from_a_class(cnn):
    class Brightness(extend.Analyzer):
        def measure(self, probe):
            return brightness(probe)

    return run_of(cnn, [Brightness()])


@pytest.mark.parametrize("measured", [named, inline, from_a_class])
def test_a_methods_columns_get_mean_and_interval_like_any_other(cnn, measured):
    run = measured(cnn)
    mean, low, high = mean_interval(run.samples["brightness"])
    assert (run.summary["brightness_mean"], *limits(run.summary, "brightness_mean")) == (mean, low, high)
    (row,) = [row for row in readings([run]) if row.key == "brightness_mean"]
    assert row.title == "brightness"
    assert f"{row.values[0].text()}" in run.table().printed["value"].tolist()


def test_an_analyzer_with_readings_of_its_own_keeps_them(cnn):
    class Halved(extend.Analyzer):
        readings = (extend.Reading("half the loss", "half_total", "a sum"),)

        def measure(self, probe):
            return {"half": probe.loss / 2}

        def summarize(self, samples, tallies):
            return extend.Summary({"half_total": float(samples["half"].sum())})

    run = run_of(cnn, [Halved()])
    assert run.summary["half_total"] == pytest.approx(run.samples["loss"].sum() / 2)
    assert "half_mean" not in run.summary


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda p: 3.0, ["returned a float", "{column: (B,)}"]),
        (lambda p: None, ["returned a NoneType", "{column: (B,)}"]),
        (lambda p: {"x": p.loss.mean()}, ["'x' has shape ()", "one number an image"]),
        (lambda p: {"x": p.batch.image}, ["'x' has shape", "3, 32, 32", "one number an image"]),
        (lambda p: {"x": torch.full((len(p.batch),), torch.nan)}, ["'x' is finite for none", "NaN only for an image"]),
    ],
)
@pytest.mark.parametrize("way", ["inline", "registered"])
def test_what_an_analyzer_returns_wrongly_is_one_line(cnn, returned, said, way):
    def mine(probe):
        return returned(probe)

    if way == "registered":
        extend.analyzer(mine)
    with refused("analyzer", *said):
        run_of(cnn, ["mine" if way == "registered" else mine])


def test_a_column_of_ours_is_not_taken(cnn):
    with refused("'loss'", "there already"):
        run_of(cnn, [lambda probe: {"loss": probe.loss}])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda z, y: z.logsumexp(1).mean(), ["shape ()"]),
        (lambda z, y: z, ["shape (16, 10)"]),
        (lambda z, y: 1.0, ["a float"]),
    ],
)
def test_what_an_objective_returns_wrongly_is_one_line(cnn, batch, value, said):
    @extend.objective
    def steep(logits, target):
        return value(logits, target)

    with refused("objective 'steep'", *said, "one number an image"):
        gl.input_gradient(cnn, batch, objective="steep")


def test_an_objective_of_ones_own_is_differentiated(cnn, batch):
    @extend.objective
    def twice(logits, target):
        return 2 * logits.gather(1, target[:, None])[:, 0]

    own, ours = (gl.input_gradient(cnn, batch, objective=of) for of in ("twice", "true_logit"))
    torch.testing.assert_close(own, 2 * ours)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda x: x, ["shape (16, 3, 32, 32)"]),
        (lambda x: 0.0, ["a float"]),
        (lambda x: x[:, :1] * torch.nan, ["nothing finite"]),
    ],
)
def test_what_an_edge_map_returns_wrongly_is_one_line(cnn, batch, returned, said):
    @extend.edge_map
    def mine(images):
        return returned(images)

    with refused("edge map 'mine'", *said):
        gl.Probe(cnn, batch).edges("mine")


@pytest.mark.parametrize(
    ("returned", "said"),
    [(lambda x: x[:3], ["shape (3, 3, 32, 32)"]), (lambda x: x * torch.nan, ["not finite"]), (lambda x: 1, ["an int"])],
)
def test_what_an_attack_returns_wrongly_is_one_line(cnn, batch, returned, said):
    @extend.attack
    def mine(evaluate, image, noise):
        return returned(image)

    with refused("attack 'mine'", *(part.replace("an int", "a int") for part in said), "wanted images"):
        gl.attack(gl.Probe(cnn, batch), "mine")


# --- corruptions


def test_a_corruption_belongs_to_its_image_and_is_clipped(batch):
    @extend.corruption
    def noisy(image, severity, random, size: float = 0.1):
        return image + size * severity * random.standard_normal(image.shape)

    whole = gl.corrupt(batch.image, "noisy", severity=2, seed=3)
    assert whole.shape == batch.image.shape
    assert whole.dtype == batch.image.dtype
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert torch.equal(gl.corrupt(batch.image[5:6], "noisy", 2, 3, index=[5]), whole[5:6])
    assert not torch.equal(gl.corrupt(batch.image, "noisy", 2, seed=4), whole)
    assert torch.equal(gl.corrupt(batch.image, "noisy:size=0", 2), batch.image)


@pytest.mark.parametrize(
    ("severity", "returned", "said"),
    [
        (0, lambda x: x, ["no severity 0", "1, 2, 3, 4 or 5"]),
        (6, lambda x: x, ["no severity 6"]),
        (3, lambda x: x[0], ["shape (32, 3)"]),
        (3, lambda x: x * np.nan, ["not finite"]),
    ],
)
def test_what_a_corruption_does_wrongly_is_one_line(batch, severity, returned, said):
    @extend.corruption
    def mine(image, severity, random):
        return returned(image)

    with refused("corruption 'mine'", *said):
        gl.corrupt(batch.image, "mine", severity)


# --- studies


def test_a_study_gives_a_table_and_takes_parameters(cnn):
    @extend.study
    @dataclass
    class Sizes(extend.Study):
        scale: float = 1.0

        def __call__(self, models, data):
            rows = [{"model": m.card.name, "images": self.scale * len(data)} for m in models]
            return gl.Table(pd.DataFrame(rows), "sizes")

    data = gl.load_data("digits", limit=20)
    assert gl.study("sizes", [cnn], data).frame["images"].tolist() == [20]
    assert gl.study("sizes:scale=2", [cnn], data).frame["images"].tolist() == [40]
    assert gl.study("sizes", [cnn], data, scale=3.0).frame["images"].tolist() == [60]
    with refused("parameter of study 'sizes'", "scael", "scale"):
        gl.study("sizes", [cnn], data, scael=3.0)

    @extend.study
    class Nothing(extend.Study):
        def __call__(self, models, data):
            return 3

    with refused("study 'nothing' returned a int", "Table"):
        gl.study("nothing", [cnn], data)


# --- names


@pytest.mark.parametrize("kind", [kind for kind, registry in KINDS.items() if registry])
def test_a_name_of_ours_is_not_taken_even_before_it_was_used(kind, monkeypatch):
    registry = KINDS[kind]
    name = next(iter(registry._files))
    monkeypatch.setattr(registry, "_methods", {})
    taken = type(re.sub("_", " ", name).title().replace(" ", ""), (), {})
    with refused(f"'{name}' is defined in {registry._files[name].module}", "rename"):
        registry(taken)
    assert list(registry._methods) == []


def test_a_plugin_is_listed_with_what_it_claims(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from gradlens.extend import analyzer\n\n@analyzer\ndef warmth(probe):\n    '''How red the images are.'''\n"
        "    return {'warmth': probe.batch.image[:, 0].mean((1, 2))}\n"
    )
    assert main(["list", "analyzers", "--plugin", str(file)]) == 0
    assert "How red the images are" in capsys.readouterr().out


# --- figures and penalties


def test_what_a_figure_returns_wrongly_is_one_line(cnn):
    @extend.figure
    def mine(runs):
        return "a picture"

    with refused("figure 'mine' returned a str", "Figure or Axes"):
        run_of(cnn, ["sample_asymmetry"]).figure("mine")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda p: p.gradient("loss").abs().mean(), ["shape ()", "one number an image", "batchwise"]),
        (lambda p: p.gradient("loss"), ["shape (16, 3, 32, 32)"]),
        (lambda p: 1.0, ["a float"]),
        (lambda p: p.gradient("loss").flatten(1).sum(1) * torch.nan, ["finite for no image"]),
    ],
)
def test_what_a_penalty_returns_wrongly_is_one_line(cnn, batch, returned, said):
    from gradlens.training.penalties import choose_penalty

    @extend.penalty
    def mine(probe):
        return returned(probe)

    with refused("penalty 'mine'", *said):
        choose_penalty("mine")(gl.Probe(cnn, batch, mode="graph"))


def test_the_command_a_figure_prints_repeats_the_run(cnn):
    from gradlens.plotting.panels import command_for

    run = run_of(cnn, ["robustness:eps=8/255"])
    run.provenance["load_model"] = {"spec": "ckpt.pt"}
    said = command_for(run, "minimal_eps")
    assert "robustness:eps=8/255,minimal_eps" in said
    assert "--limit 40" in said
    assert "--data digits" in said
