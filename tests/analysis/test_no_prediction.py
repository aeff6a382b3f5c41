"""An image whose logits are no numbers has no prediction, robustness or ε; it is counted, and top-1 says so."""

import numpy as np
import pytest
import torch
from measured import classifier, measure
from torch import nn

from gradlens import load_data, load_model
from gradlens.runs.readings import warnings

BAD = 3
ANALYZERS = "sample_asymmetry,robustness:steps=1,minimal_eps:points=2,steps=1,restarts=1,queries=1,checked=1"
IMAGES = 90


class Breaking(nn.Module):
    """A network two of whose logits are NaN, or infinite, at images of some brightness."""

    def __init__(self, inner, lights):
        super().__init__()
        self.inner = inner
        self.register_buffer("lights", lights)
        self.register_buffer("values", torch.tensor([torch.nan, torch.inf, torch.nan]))

    def forward(self, image):
        logits = self.inner(image)
        distance, nearest = (image.mean((1, 2, 3))[:, None] - self.lights).abs().min(1)
        two = torch.arange(logits.shape[1]) < 2
        return torch.where((distance < 1e-7)[:, None] & two, self.values[nearest][:, None], logits)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a network that breaks at three images, which the pilot does not hold, and of the sound one."""
    data = load_data("digits", limit=IMAGES)
    pilot = set(data.limit(64).indices.tolist())
    # Of those that are right, or nothing would change.
    sound = measure(data=data, analyzers=ANALYZERS, limit=None)
    right = sound.samples.query("correct & label > 1")["index"]
    chosen = [i for i in right if i not in pilot][:BAD]
    mean, std = torch.tensor((0.5, 0.4, 0.3)).view(1, 3, 1, 1), torch.tensor((0.2, 0.3, 0.4)).view(1, 3, 1, 1)
    lights = ((data.batch(chosen).image - mean) / std).mean((1, 2, 3))
    broken = load_model(Breaking(classifier().net, lights), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    out = tmp_path_factory.mktemp("broken") / "run"
    return measure(broken, data=data, analyzers=ANALYZERS, limit=None, out=out), sound, chosen


def test_the_run_goes_on_and_counts_them(runs):
    run, sound, chosen = runs
    rows = run.samples.set_index("index")
    assert rows.index[rows["prediction"].isna()].tolist() == chosen
    missing = ["prediction", "confidence", "loss", "margin", "error_mass", "rank_of_label"]
    robust = next(c for c in rows if c.startswith("robust["))
    eps = next(c for c in rows if c.startswith("eps_min"))
    by = next(c for c in rows if c.startswith("broken_by"))
    assert rows.loc[chosen, [*missing, robust, eps, by]].isna().to_numpy().all()
    assert not rows.loc[chosen, "correct"].any()
    assert run.summary["no_prediction"] == BAD
    assert sound.summary["no_prediction"] == 0
    others = rows.drop(index=chosen)
    assert others[[*missing, robust, eps]].notna().to_numpy().all()
    assert (others["prediction"] == sound.samples.set_index("index")["prediction"].drop(chosen)).all()


def test_accuracies_count_them_as_wrong(runs):
    run, sound, _ = runs
    assert run.summary["top1"] == pytest.approx(sound.summary["top1"] - 100 * BAD / IMAGES)
    assert run.summary["top5"] <= sound.summary["top5"] - 100 * BAD / IMAGES + 1e-9
    robust = next(c for c in run.samples if c.startswith("robust["))
    key = robust.replace("robust[", "robust_accuracy[")
    assert run.summary[key] == pytest.approx(100 * run.samples[robust].sum() / IMAGES)
    eps = next(c for c in run.samples if c.startswith("eps_min"))
    mean = next(k for k in run.summary if k.startswith("eps_min_mean["))
    found, by = (run.samples[c].to_numpy() for c in (eps, eps.replace("eps_min", "broken_by")))
    # The trapezoid counts what breaks at an ε of the grid, .01 or .15, with the middle between it and the one before.
    middle = np.where(np.isclose(found, 0.01), 0.005, 0.08)
    assert run.summary[mean] == pytest.approx(np.nanmean(np.where((by > 0) & (by < 4), middle, found)))


def test_top1_says_so(runs):
    run, sound, _ = runs
    (said,) = [line for line in warnings(run) if "no prediction" in line]
    assert said.startswith("the logits of 3 of 90 images are NaN or infinite")
    assert "top-1" in said
    assert not [line for line in warnings(sound) if "no prediction" in line]


def test_their_pictures_are_drawn(runs):
    run, _, chosen = runs
    run.select(f"index == {chosen[0]}").show()
