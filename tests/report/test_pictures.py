"""Figures and examples in the page: all that can be drawn, small, and with the gallery's pixels."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from report_runs import made_run

from gradlens.core.registry import figure as registered
from gradlens.plotting import draw
from gradlens.plotting.pictures import in_gray
from gradlens.report._pictures import SIDE, cards, draw_all, picture


@pytest.mark.slow
def test_every_figure_is_drawn_or_says_what_it_needs(runs):
    drawn, absent = draw_all(runs)
    assert {"gradient_gallery", "gradient_norm_distribution", "edge_concentration"} <= {figure.name for figure in drawn}
    assert not [reason for reason in absent.values() if reason.startswith("failed")]
    assert "gradient_spectrum" in absent["gradient_spectrum"]
    assert all(len(figure.picture) < 600_000 for figure in drawn)


@pytest.mark.slow
def test_a_figure_that_breaks_is_named_and_costs_nothing_else(runs, monkeypatch):
    def broken(runs):
        """A figure."""
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(registered._methods, "broken", broken)
    drawn, absent = draw_all(runs[:1])
    assert absent["broken"] == "failed with ZeroDivisionError: oh"
    assert drawn


def test_pictures_are_those_of_the_gallery(runs):
    gradients = [run.examples["gradient"][0].astype(float) * run.examples["scale"][0] for run in runs]
    limit = max(np.quantile(np.abs(g), 0.99) for g in gradients)
    drawn = draw("gradient_gallery", runs, scale="shared")
    shown = [ax.images[0].get_array() for ax in drawn.axes if ax.images]
    for gradient in gradients:
        expected = in_gray(gradient.transpose(1, 2, 0), limit)
        assert any(image.shape == expected.shape and np.allclose(image, expected) for image in shown)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (500, 250, 3), (224, 224, 1), (3, 900, 3)])
def test_pictures_are_small_and_whole(height, width, channels, rng):
    pixels = rng.random((height, width, channels))
    uri = picture(pixels)
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")) / 255
    assert max(shown.shape) == min(SIDE, max(height, width))
    if max(height, width) <= 64:
        np.testing.assert_allclose(shown, np.broadcast_to(pixels, shown.shape), atol=0.5 / 255 + 1e-9)
    np.testing.assert_allclose(shown.mean((0, 1)), np.broadcast_to(pixels.mean((0, 1)), 3), atol=0.02)


def test_examples_of_several_runs_stand_on_one_card(runs):
    found = cards(runs)
    assert [[look.label for look in card.looks] for card in found] == [["natural", "robust"]] * 3
    assert [card.path for card in found] == runs[0].samples.loc[runs[0].examples["index"], "path"].tolist()
    apart = cards([runs[0], made_run("other", images=150)])
    assert [len(card.looks) for card in apart] == [1] * 6
    # The loudest of an image has one scale; the others are paler on it than on their own.
    for card in found:
        assert sum(look.own == look.shared for look in card.looks) == 1
