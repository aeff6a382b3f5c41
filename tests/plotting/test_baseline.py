"""Figures look as they did when somebody last looked at them: small pictures without any text.

Text and layout are taken out, since they differ with the fonts of a machine: panels stand on a fixed
grid. What is left (curves, bins, marks, pictures) is compared in root mean square over 8-bit values.
Equal drawings give 0 on one machine, and another rasteriser may round shades at edges; a picture moved by
one dot gives 12 to 37, of any figure. So 2 leaves room for the one and refuses the other.

python tests/plotting/test_baseline.py draws those that are missing; look at them before you commit them.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from drawables import given as suited
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from gradlens.core.registry import figure as figures
from gradlens.plotting import draw, paper_style
from gradlens.plotting.style import PLACES

BASELINE = Path(__file__).parent / "baseline"
TOLERANCE = 2.0
DPI, WIDTH, HEIGHT = 50, 5, 3


def bare(figure: Figure) -> np.ndarray:
    """The figure's panels on a fixed grid, without text, as ``(H, W, 3)`` of 8 bits."""
    figure.set_layout_engine("none")
    figure.set_size_inches(WIDTH, HEIGHT)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    across = int(np.ceil(np.sqrt(len(panels))))
    for k, ax in enumerate(panels):
        row, column = divmod(k, across)
        ax.set_position([(column + 0.05) / across, 1 - (row + 0.95) / across, 0.9 / across, 0.9 / across])
        if ax.get_legend():
            ax.get_legend().remove()
    for legend in figure.legends:
        legend.remove()
    for text in figure.findobj(Text):
        text.set_visible(False)
    # Ticks that another size needs are made while it is drawn.
    for ax in panels:
        ax.tick_params(which="both", labelleft=False, labelright=False, labelbottom=False, labeltop=False)
    stream = io.BytesIO()
    with paper_style():
        figure.savefig(stream, format="png", dpi=DPI)
    return np.asarray(Image.open(stream).convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("name", figures)
def test_a_figure_looks_as_it_did(name):
    file = BASELINE / f"{name}.png"
    assert file.exists(), "python tests/plotting/test_baseline.py draws it"
    now = bare(draw(name, suited(name, 2)))
    then = np.asarray(Image.open(file).convert("RGB"))
    assert now.shape == then.shape
    assert difference(now, then) < TOLERANCE


def test_other_numbers_look_different():
    runs = suited("edge_profile", 2)
    then = bare(draw("edge_profile", runs))
    assert difference(then, bare(draw("edge_profile", runs))) == 0
    runs[0].arrays["edge_concentration/profile/gradient"][2:5] += 0.05
    assert difference(then, bare(draw("edge_profile", runs))) > TOLERANCE


def test_a_drawing_moved_by_one_dot_looks_different():
    for name in ("edge_profile", "gradient_norm_distribution"):
        then = bare(draw(name, suited(name, 2)))
        assert min(difference(then, np.roll(then, 1, axis)) for axis in (0, 1)) > 5 * TOLERANCE


def test_a_missing_curve_and_another_style_look_different():
    runs = suited("gradient_norm_distribution", 2)
    then = bare(draw("gradient_norm_distribution", runs))
    assert difference(then, bare(draw("gradient_norm_distribution", runs[:1]))) > TOLERANCE
    runs[0].provenance["model"] = {"display": {"color": "#ff0000"}}
    assert difference(then, bare(draw("gradient_norm_distribution", runs))) > TOLERANCE


def test_text_does_not_count():
    runs = suited("edge_profile", 2)
    then = bare(draw("edge_profile", runs))
    renamed = draw("edge_profile", runs)
    renamed.axes[0].set_xlabel("a much longer label\nin two lines", fontsize=20)
    assert difference(then, bare(renamed)) == 0


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for wanted in figures:
        # A session of its own, as in a test.
        PLACES.clear()
        target = BASELINE / f"{wanted}.png"
        if not target.exists():
            Image.fromarray(bare(draw(wanted, suited(wanted, 2)))).save(target, optimize=True)
            print(f"drew {target}")
