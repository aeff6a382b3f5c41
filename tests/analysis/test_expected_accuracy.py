"""An accuracy that was expected is compared before the run, as far as sampling lets it."""

import numpy as np
import pytest
import torch
from refusals import refused

from gradlens import load_data, load_model
from gradlens.analysis.doubts import parse_expectation, preflight


@pytest.mark.parametrize(
    ("text", "value"), [("60.3±1", (60.3, 1)), ("60.3", (60.3, 1)), ("60 +- 2.5", (60, 2.5)), ("76+/-.5", (76, 0.5))]
)
def test_an_expectation_is_percent_and_tolerance(text, value):
    assert parse_expectation(text) == value


@pytest.mark.parametrize("text", ["", "sixty", "60±", "600", "-3"])
def test_an_unreadable_expectation_is_refused(text):
    with refused("60.3±1"):
        parse_expectation(text)


class Oracle(torch.nn.Module):
    """Says the label that is written into the first pixel, right in a given share of cases."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, x):
        label = (x[:, 0, 0, 0] * 10).round().long()
        right = x[:, 1, 0, 0] < self.share
        return torch.nn.functional.one_hot(torch.where(right, label, (label + 1) % 10), 10).float()


def oracle(share, images=400):
    rng = np.random.default_rng(0)
    pixels = np.zeros((images, 3, 4, 4), np.float32)
    labels = rng.integers(0, 10, images)
    pixels[:, 0] = (labels / 10)[:, None, None]
    pixels[:, 1] = rng.permutation(np.linspace(0, 1, images))[:, None, None]
    return load_model(Oracle(share), normalized=True), load_data((pixels, labels))


@pytest.mark.parametrize(
    ("share", "expected", "word"),
    [
        (0.6, None, None),
        (0.6, (60.0, 1.0), None),
        (0.6, (64.0, 1.0), None),
        (0.6, (80.0, 1.0), "80 ± 1 % was expected"),
        (0.6, (80.0, 20.0), None),
        (0.1, None, "chance is 10 %"),
    ],
)
def test_only_an_accuracy_that_sampling_does_not_explain_is_suspicious(share, expected, word):
    model, data = oracle(share)
    said = preflight(model, data, expected, batch_size=64)
    assert (said is None) if word is None else word in said


def test_images_without_labels_raise_no_suspicion():
    model, data = oracle(0.0)
    assert preflight(model, load_data((data.source.images, None)), (50.0, 1.0), 64) is None
