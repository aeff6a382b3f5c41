"""Before a long run its time and memory are said in one line, and no number is another for it."""

import logging
import re

import pandas as pd
import pytest
from measured import classifier, measure

from gradlens.analysis import analyze as module


def test_an_estimate_is_said_before_a_long_run_only(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "gradlens"):
        short = measure(classifier(), limit=40, batch_size=8)
        assert "about" not in caplog.text
        monkeypatch.setattr(module, "LONG", 40)
        measure(classifier(), limit=40, batch_size=8)
        assert "about" not in caplog.text
        monkeypatch.setattr(module, "MINUTES", 0)
        long = measure(classifier(), limit=40, batch_size=8)
    assert re.search(r"about \d+ min for 40 images, \d[\d.]* [MG]B of \w+ memory", caplog.text)
    pd.testing.assert_frame_equal(short.samples, long.samples, check_exact=True)
    assert short.summary == long.summary


def test_the_estimate_is_the_pace_times_the_images(monkeypatch, caplog):
    monkeypatch.setattr(module, "LONG", 40)
    # Half a second to decode and four to measure: 40 images in three minutes.
    monkeypatch.setattr(module.Session, "pace", lambda self: (0.5, 4.0))
    with caplog.at_level(logging.WARNING, "gradlens"):
        measure(classifier(), limit=40, batch_size=8)
    (minutes,) = re.findall(r"about (\d+) min for 40 images", caplog.text)
    assert int(minutes) == pytest.approx(40 * 4.5 / 60)
