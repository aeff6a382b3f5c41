"""The style of figures: a venue's width, fonts that journals take, one look a label, and nothing left behind."""

from __future__ import annotations

import itertools
import random

import matplotlib as mpl
import pytest
from matplotlib.text import Text
from synthetic import models, synthetic

from gradlens import UserError
from gradlens.plotting import VENUES, arrange, draw, paper_style
from gradlens.plotting.style import CHANNELS, COLORS, looks


def test_settings_hold_inside_and_are_restored_after():
    before = dict(mpl.rcParams)
    with paper_style("cvpr", columns=1):
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert tuple(mpl.rcParams["figure.figsize"]) == (3.25, 2.2)
    assert dict(mpl.rcParams) == before


def test_settings_are_restored_after_an_error():
    before = dict(mpl.rcParams)
    with pytest.raises(RuntimeError), paper_style("icml"):
        raise RuntimeError
    assert dict(mpl.rcParams) == before


def test_the_readers_own_settings_do_not_reach_a_figure():
    own = {"text.usetex": True, "savefig.bbox": "tight", "axes.facecolor": "black", "font.size": 30}
    with mpl.rc_context(own):
        with paper_style():
            assert not mpl.rcParams["text.usetex"]
            assert mpl.rcParams["savefig.bbox"] is None
            assert mpl.rcParams["axes.facecolor"] == "white"
            assert mpl.rcParams["font.size"] == 8
        assert mpl.rcParams["text.usetex"]


def test_no_column_is_wider_than_the_text():
    for column, text in VENUES.values():
        assert 3 < column <= text < 8


@pytest.mark.parametrize(("arguments", "said"), [(("cvprr",), "cvpr"), (("cvpr", 3), "3 columns")])
def test_what_no_venue_has_is_refused(arguments, said):
    with pytest.raises(UserError, match=said), paper_style(*arguments):
        pass


def test_a_label_has_one_colour_whatever_the_order_and_the_others():
    runs = models(5)
    shuffled = random.Random(0).sample(runs, 5)
    first = {run.label: look for run, look in zip(runs, looks(runs), strict=True)}
    second = {run.label: look for run, look in zip(shuffled, looks(shuffled), strict=True)}
    assert first == second
    kept = arrange(runs, select=["model-3", "natural"])
    assert [look[:3] for look in looks(kept)] == [first[run.label][:3] for run in kept]


def test_a_label_alone_has_the_colour_that_it_has_beside_labels_of_other_colours():
    runs = [synthetic(name, 0) for name in ("natural", "robust")]
    both = looks(runs)
    assert both[0].color != both[1].color
    assert [looks([run])[0] for run in runs] == both


def test_more_models_than_colours_differ_in_line_and_marker():
    shown = looks(models(28))
    assert len({(look.color, str(look.style)) for look in shown}) == 28
    assert len({(look.color, look.marker) for look in shown}) == 28
    assert {look.color for look in shown[:7]} <= set(COLORS)


def test_the_first_models_are_told_apart_by_marker_alone_and_by_colour_alone():
    for count in (2, 7):
        shown = looks(models(count))
        assert len({look.color for look in shown}) == len({look.marker for look in shown}) == count
        assert {look.style for look in shown} == {"-"}


def test_one_colour_given_to_two_models_leaves_them_other_lines():
    runs = models(2)
    for run in runs:
        run.provenance["model"] = {"display": {"color": "#123456"}}
    a, b = looks(runs)
    assert a.color == b.color == "#123456"
    assert a.style != b.style
    assert a.marker != b.marker


def test_channels_differ_without_their_colours():
    assert all(a != b for (_, a), (_, b) in itertools.combinations(CHANNELS.values(), 2))


def test_labels_get_the_palettes_colours_in_the_order_in_which_they_were_first_given():
    first, second, third = (synthetic(name, 0) for name in ("zebra", "ant", "cat"))
    assert [look.color for look in looks([first, second])] == list(COLORS[:2])
    assert [look.color for look in looks([third, second])] == [COLORS[2], COLORS[1]]


def test_type_grows_in_proportion_and_marks_do_not():
    with paper_style(font_size=12):
        assert (mpl.rcParams["font.size"], mpl.rcParams["xtick.labelsize"]) == (12, 10.5)
        assert mpl.rcParams["lines.markersize"] == 3.5
    with pytest.raises(UserError, match="font size of 0"), paper_style(font_size=0):
        pass


def test_a_label_with_dollars_is_shown_as_it_is_written():
    runs = [run.named(name) for run, name in zip(models(2), ("$x^2$", r"$\nonsense{$"), strict=True)]
    for name in ("gradient_norm_distribution", "edge_concentration", "gradient_gallery", "conditional_medians"):
        figure = draw(name, runs)
        figure.draw_without_rendering()
        said = [text for text in figure.findobj(Text) if "$x^2$" in text.get_text()]
        assert said
        assert not any(text.get_parse_math() for text in said)
        # The ticks of logarithmic axes are matplotlib's own formulas.
        assert all(text.get_parse_math() for text in figure.findobj(Text) if "mathdefault" in text.get_text())
