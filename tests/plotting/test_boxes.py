"""Every figure at every size of data and in every venue: no warning, no text cut or over another, data drawn."""

import warnings

import pytest
from boxes import colliding, cut, has_ink
from drawables import a_history, a_run
from matplotlib.figure import Figure

from gradlens.core.registry import figure as figures
from gradlens.plotting import VENUES, draw, numbers

NAMES = ("natural", "GradNorm", "vit_small_patch16_224")
ARCHS = ("resnet50", "swin_b", "vit_small")
SIZES = (1, 24, 80, 500)
WIDTHS = sorted(
    {(column, venue, 1) for venue, (column, _) in VENUES.items()} | {(text, v, 2) for v, (_, text) in VENUES.items()}
)
# One venue of each width: figures know nothing else of it.
VENUE_OF = {width: (venue, columns) for width, venue, columns in WIDTHS}


def what(name: str, images: int) -> list:
    """Three models, one of a long name, or a sweep of many weights."""
    if name == "penalty_weight_sweep":
        return [a_history(f"weight={w}", s, weight=w) for w in (0.01, 0.02, 0.03, 0.1, 1.0, 3.0) for s in range(2)]
    if name in ("accuracy_over_epochs", "learning_curves"):
        return [a_history(label, k) for k, label in enumerate(NAMES)]
    runs = [a_run(label, k, images=images, arch=arch) for k, (label, arch) in enumerate(zip(NAMES, ARCHS, strict=True))]
    return runs[:1] if name == "model_card" else runs


def check(figure: Figure) -> None:
    assert cut(figure) == []
    assert colliding(figure) == []
    assert all(has_ink(ax) for ax in figure.axes if ax.get_visible())
    assert len(numbers(figure))


@pytest.mark.parametrize("images", SIZES[:3])
@pytest.mark.parametrize("name", figures)
def test_a_column_of_cvpr_holds_a_figure_of_few_images(name, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(draw(name, what(name, images), venue="cvpr", columns=1))


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("width", VENUE_OF)
@pytest.mark.parametrize("name", figures)
def test_every_venue_holds_every_figure(name, width, images):
    venue, columns = VENUE_OF[width]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(draw(name, what(name, images), venue=venue, columns=columns))


@pytest.mark.parametrize("font_size", [6, 10])
@pytest.mark.parametrize("name", figures)
def test_larger_and_smaller_type_fits_too(name, font_size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(draw(name, what(name, 24), venue="cvpr", columns=1, font_size=font_size))


def test_a_text_beyond_the_page_and_one_over_another_are_found():
    figure = Figure(figsize=(2, 2))
    for x, said in ((0.1, "first"), (0.12, "second"), (0.9, "a long text that is cut")):
        figure.text(x, 0.5, said)
    assert cut(figure) == ["a long text that is cut"]
    assert colliding(figure) == [("second", "first")]
