"""A linear network's robust accuracy is known, and the study finds it from a few attacked images."""

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.studies._predict_robustness import MEAN, drawn, middles, radii

CHEAP = {"steps": 2, "restarts": 1, "queries": 2}


class Linear(nn.Module):
    """Logits 0 and w·(x − 1/2) + b, whose minimal ε is |margin|/‖w‖₁ as long as no pixel leaves [0, 1]."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        z = ((x - 0.5) * self.weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(z), z], 1)


@pytest.fixture(scope="module")
def known():
    """A linear model, 200 images, and each image's own minimal ε, 0 where it is wrong."""
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 4)
    images = 0.5 + 0.3 * (torch.rand(200, 3, 4, 4) - 0.5)
    margin = ((images - 0.5) * weight).flatten(1).sum(1)
    labels = (margin > 0).long()
    labels[:20] = 1 - labels[:20]
    eps = (margin / weight.abs().sum()).abs().double().numpy()
    eps[:20] = 0
    model = gl.load_model(Linear(weight), normalized=True)
    return model, gl.load_data((images, labels.numpy())), eps


def test_all_attacked_is_the_truth(known):
    model, data, eps = known
    grid = [0.002, 0.005, 0.01, 0.02]
    frame = gl.study("predict_robustness", [model], data, attacked=200, eps=grid, **CHEAP).frame
    whole = frame[frame["class"] == ""].set_index("eps")
    for radius in grid:
        row = whole.loc[radius]
        assert row["estimate"] == pytest.approx(100 * (eps > radius).mean())
        assert row["estimate_low"] == pytest.approx(row["estimate_high"])
    level = (eps[20:, None] > np.array(grid)).sum(1) + 1
    mean = frame[(frame["measure"] == MEAN) & (frame["class"] == "")].iloc[0]
    assert mean["estimate"] == pytest.approx(middles(grid, level).sum() / 200)
    assert mean["explained"] > 0.9


def test_a_sample_covers_the_truth_and_is_worth_more(known):
    model, data, eps = known
    table = gl.study("predict_robustness", [model], data, attacked=60, eps="0.003..0.015", target="new", **CHEAP)
    frame = table.frame
    whole = frame[(frame["class"] == "") & (frame["measure"] != MEAN)]
    truth = [100 * (eps > radius).mean() for radius in whole["eps"]]
    assert (whole["estimate_low"] <= truth).all()
    assert (whole["estimate_high"] >= truth).all()
    classes = frame[frame["class"] != ""]
    assert set(classes["class"]) == {0, 1}
    assert (classes["attacked"] >= 20).all()
    assert pd.isna(classes["estimate"]).all()
    assert "accuracy under this suite" in repr(table)
    assert "new images" in repr(table)


def test_wrong_input_is_one_line(known):
    model, data, _ = known
    with refused("give checkpoints"):
        gl.study("predict_robustness", [], data)
    with refused("1000 images cannot be attacked of 200"):
        gl.study("predict_robustness", [model], data)
    with refused("10 attacked images in 6 strata", "at most 5"):
        gl.study("predict_robustness", [model], data, attacked=10, strata=6)
    with refused("eps '8/255..1/255'", "rising"):
        gl.study("predict_robustness", [model], data, attacked=20, eps="8/255..1/255")
    with refused("target 'old'"):
        gl.study("predict_robustness", [model], data, attacked=20, target="old")
    batch = data.batch(range(200))
    wrong = gl.load_data((batch.image[20:], (1 - batch.target[20:]).numpy()))
    with refused("none of 180 images", "check labels"):
        gl.study("predict_robustness", [model], wrong, attacked=20)


def test_radii_are_written_as_users_do():
    assert radii("1/255..3/255") == pytest.approx([1 / 255, 2 / 255, 3 / 255])
    assert radii("1/255+4/255") == pytest.approx([1 / 255, 4 / 255])
    assert radii(0.1) == [0.1]


def test_every_stratum_gives_its_share_at_random():
    stratum = np.arange(100) * 10 // 100
    rows = drawn(stratum, 40, 0)
    assert np.bincount(stratum[rows]).tolist() == [4] * 10
    assert len(set(rows)) == 40
    assert not np.array_equal(rows, drawn(stratum, 40, 1))
