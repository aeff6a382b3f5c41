"""Figures from synthetic runs: without torch, without side effects, with the table's numbers in them."""

from __future__ import annotations

import re
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gradlens import Run, UserError
from gradlens._registry import figure as figures
from gradlens._tallies import Histogram
from gradlens.plotting import VENUES, draw, save


def synthetic(name: str, seed: int, images: int = 200) -> Run:
    """A run with the contract's columns and arrays, of numbers drawn at random."""
    rng = np.random.default_rng(seed)
    samples = pd.DataFrame({"index": np.arange(images), "path": [f"cat/{i:03d}" for i in range(images)]})
    samples["correct"] = rng.random(images) < 0.7
    samples["l1"] = rng.lognormal(seed, 1, images)
    for column in ("edge_partial_contour", "edge_corr_contour", "edge_auc_canny", "edge_mass_canny"):
        samples[column] = rng.normal(0.5, 0.1, images)
        samples[f"{column}_null"] = rng.normal(0.4, 0.05, images)
    counts = np.zeros((3, Histogram.BINS + 2), np.int64)
    counts[:, 300:420] = rng.integers(1, 1000, (3, 120))
    histogram = {"counts": counts, "zeros": np.array([5, 0, 0]), "edges": Histogram.edges()}
    examples = {
        "index": np.array([3, 1, 4]),
        "image": rng.random((3, 3, 24, 24)).astype(np.float16),
        "gradient": rng.normal(0, 0.3, (3, 3, 24, 24)).astype(np.float16),
        "scale": np.array([2.0, 1.0, 5.0]),
    }
    arrays = {f"channel_asymmetry/histogram/{k}": v for k, v in histogram.items()}
    spectrum = {"edges": 2.0 ** (np.arange(-30, 0) / 3)}
    for what in ("gradient", "image"):
        spectrum |= {f"{what}_mean": rng.lognormal(0, 1, 29), f"{what}_error": rng.random(29) / 10}
    arrays |= {f"gradient_spectrum/{k}": v for k, v in spectrum.items()}
    arrays |= {f"edge_concentration/profile/{k}": np.linspace(0.1, 1, 17) for k in ("gradient", "area")}
    return Run(samples, {"model": name, "images": images}, arrays, {"weights": name}, examples)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [synthetic("natural", 0), synthetic("robust", 1)]


@pytest.mark.parametrize("name", figures)
@pytest.mark.parametrize("count", [1, 2])
def test_every_figure_draws_one_and_two_runs_and_leaves_no_trace(name, count, runs):
    before = dict(mpl.rcParams)
    drawn = draw(name, runs[:count])
    assert isinstance(drawn, Figure)
    assert drawn.axes
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", figures)
@pytest.mark.parametrize("venue", ["cvpr", "eccv"])
def test_a_pdf_has_type_42_fonts_and_fits_the_venue(name, venue, runs, tmp_path):
    file = save(draw(name, runs, venue=venue), tmp_path / "figure.pdf", runs)
    content = file.read_bytes()
    assert b"/Type3" not in content
    assert b"/Type42" in content or b"/CIDFontType2" in content
    width = float(re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", content).group(1)) / 72
    assert width <= VENUES[venue][1] + 0.01
    assert runs[0].hash.encode() in content


def test_the_same_figure_gives_the_same_file(runs, tmp_path):
    first, second = (save(draw("edge_concentration", runs), tmp_path / f"{k}.pdf", runs) for k in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_figures_are_drawn_where_torch_cannot_be_imported(runs, tmp_path):
    for run in runs:
        run.save(tmp_path / run.label)
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] != 'torch', 'a figure imported torch'\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from gradlens._registry import figure\nfrom gradlens.cli import main\n"
        "for name in figure:\n"
        "    assert main(['figure', name, 'natural', 'robust', '-o', f'{name}.svg']) == 0, name\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert {f.stem for f in tmp_path.glob("*.svg")} == set(figures)


def test_the_norm_distribution_draws_the_tables_numbers(runs):
    ax = draw("gradient_norm_distribution", runs).axes[0]
    l1 = runs[0].samples["l1"]
    assert f"natural: {l1.mean():.3g} ± {l1.std(ddof=0):.3g}, n = 200" in [
        t.get_text() for t in ax.get_legend().get_texts()
    ]
    outline = next(p for p in ax.patches if p.get_label().startswith("natural"))
    values, edges, _ = outline.get_data()
    counts = np.histogram(l1, edges)[0]
    np.testing.assert_allclose(values, counts / counts.max())
    assert counts.sum() == len(l1)


def test_correct_and_wrong_are_drawn_apart(runs):
    ax = draw("gradient_norm_distribution:by=correct", runs[:1]).axes[0]
    wrong = runs[0].samples.query("not correct")["l1"]
    assert any(f"n = {len(wrong)}" in t.get_text() for t in ax.get_legend().get_texts())


def test_channel_curves_have_area_one(runs):
    ax = draw("channel_distribution", runs[:1]).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "R")
    decades = np.log10(line.get_xdata())
    assert line.get_ydata().sum() * (decades[1] - decades[0]) == pytest.approx(1)


def test_the_gallery_writes_each_gradients_l1_and_centres_on_gray(runs):
    drawn = draw("gradient_gallery", runs)
    gradient = runs[0].examples["gradient"][0].astype(float) * runs[0].examples["scale"][0]
    texts = [t.get_text() for ax in drawn.axes for t in ax.texts]
    assert f"L1 {np.abs(gradient).sum():.3g}" in texts
    zero = synthetic("flat", 0)
    zero.examples["gradient"] = np.zeros_like(zero.examples["gradient"])
    shown = draw("gradient_gallery", [zero]).axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, 0.5)


def test_a_shared_scale_compares_models_and_the_papers_does_not(runs):
    loud = synthetic("loud", 0)
    loud.examples["scale"] = loud.examples["scale"] * 10

    def contrast(scale: str) -> list[float]:
        axes = draw(f"gradient_gallery:scale={scale}", [runs[0], loud]).axes[1:3]
        return [float(np.std(ax.images[0].get_array())) for ax in axes]

    quiet_shared, loud_shared = contrast("shared")
    quiet_alone, loud_alone = contrast("image")
    assert loud_shared > 5 * quiet_shared
    assert loud_alone == pytest.approx(quiet_alone)


@pytest.mark.parametrize("name", ["gradient_norm_distribution", "channel_distribution"])
def test_a_panel_draws_into_given_axes(name, runs):
    own = Figure()
    ax = own.subplots()
    assert draw(name, runs[:1], ax=ax) is own
    assert ax.has_data()


@pytest.mark.parametrize(
    ("name", "analyzer"),
    [
        ("gradient_norm_distribution", "sample_asymmetry"),
        ("channel_distribution", "channel_asymmetry"),
        ("edge_concentration", "edge_concentration"),
        ("gradient_gallery", "gradlens examples"),
    ],
)
def test_a_run_without_the_numbers_is_told_which_analyzer_gives_them(name, analyzer):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    with pytest.raises(UserError, match=analyzer):
        draw(name, [bare])


def test_vanished_gradients_are_an_answer_not_a_crash():
    run = synthetic("vanished", 0)
    run.samples["l1"] = 0.0
    with pytest.raises(UserError, match="gradient_flag"):
        draw("gradient_norm_distribution", [run])


def test_an_unknown_option_or_suffix_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="colour"):
        draw("edge_concentration", runs, colour="red")
    with pytest.raises(UserError, match=r"\.pdf"):
        save(draw("edge_concentration", runs), tmp_path / "figure.docx")
