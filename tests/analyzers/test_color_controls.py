"""Recoloured images tell what of an asymmetry is the image's and what the model's."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import frame, planted
from scipy import stats
from scipy.spatial.transform import Rotation
from skimage.color import rgb2gray
from torch import nn

from gradlens import analyze, load_data
from gradlens.analyzers._channel_asymmetry import GRAY, SHARES, ChannelAsymmetry
from gradlens.analyzers._color_controls import ColorControls, turned_hue
from gradlens.core.types import Batch
from gradlens.models import load_model
from gradlens.probes.probe import Probe


def fitted(pilot, analyzer=ChannelAsymmetry, **parameters):
    chosen = analyzer(objective="true_logit", **parameters)
    chosen.fit(pilot)
    return chosen


class Following(nn.Module):
    """The label's logit is Σ w_c x_c² / 2, whose gradient follows the image: ``w x``."""

    def __init__(self, weight=(1.0, 1.0, 1.0)):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight).view(1, 3, 1, 1))

    def forward(self, image):
        value = (self.weight * image**2 / 2).flatten(1).sum(1)
        return value[:, None] * torch.ones(32)


def shares_of(columns, control=""):
    return torch.stack([columns[f"{name}{control}"] for name in SHARES], 1)


def test_shares_that_follow_the_image_move_with_its_channels(few):
    probe = Probe(Following(), few)
    columns, own = fitted(probe, ColorControls).measure(probe), shares_of(fitted(probe).measure(probe))
    torch.testing.assert_close(shares_of(columns, "[swapped]"), own[:, [2, 1, 0]], rtol=1e-6, atol=0)
    torch.testing.assert_close(shares_of(columns, "[rotated]"), own[:, [2, 0, 1]], rtol=1e-6, atol=0)
    torch.testing.assert_close(shares_of(columns, "[gray]"), torch.full((32, 3), 1 / 3).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(columns["log_r_over_b_image"], (own[:, 0] / own[:, 2]).log(), rtol=1e-5, atol=1e-6)
    assert columns["log_r_over_b_model"].abs().max() < 1e-6
    assert (columns["clipped[rotated]"] == 0).all()


def test_shares_of_the_model_stay(few):
    probe = planted(few, torch.rand_like(few.image) * torch.tensor([1, 2, 4.0]).view(3, 1, 1))
    columns, own = fitted(probe, ColorControls).measure(probe), shares_of(fitted(probe).measure(probe))
    for control in ("[swapped]", "[gray]", "[rotated]"):
        torch.testing.assert_close(shares_of(columns, control), own, rtol=1e-6, atol=0)
    assert columns["log_r_over_b_image"].abs().max() < 1e-6


def test_an_asymmetry_of_both_is_split_into_both(few):
    weight = (3.0, 1.0, 0.5)
    probe = Probe(Following(weight), few)
    chosen = fitted(probe, ColorControls)
    columns = chosen.measure(probe)
    size = few.image.double().sum((2, 3))
    torch.testing.assert_close(
        columns["log_r_over_b_model"], torch.full((32,), np.log(6.0)).double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(columns["log_r_over_b_image"], (size[:, 0] / size[:, 2]).log(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        shares_of(columns, "[gray]"), (torch.tensor(weight) / 4.5).expand(32, 3).double(), rtol=1e-6, atol=0
    )
    scalars = chosen.summarize(frame(probe, columns), {}).scalars
    assert scalars["r_over_b_model_mean"] == pytest.approx(6, rel=1e-5)
    assert scalars["r_over_b_image_mean"] == pytest.approx(stats.gmean(size[:, 0] / size[:, 2]), rel=1e-5)
    assert scalars["r_over_b_image_mean_low"] < scalars["r_over_b_image_mean"] < scalars["r_over_b_image_mean_high"]


def test_control_images_keep_label_and_are_what_they_are_called(few):
    seen = []

    class Watching(Following):
        def forward(self, image):
            seen.append(image.detach().clone())
            return super().forward(image)

    probe = Probe(Watching(), few)
    fitted(probe, ColorControls, hue=60.0).measure(probe)
    own = next(image for image in seen if torch.equal(image, few.image))
    swapped, gray, turned = (image for image in seen if image is not own)
    assert torch.equal(swapped, own[:, [2, 1, 0]])
    expected = rgb2gray(own.double().permute(0, 2, 3, 1).numpy())
    for channel in gray.unbind(1):
        np.testing.assert_allclose(channel, expected, rtol=0, atol=1e-6)
    assert turned.min() >= 0
    assert turned.max() <= 1


@pytest.mark.parametrize("degrees", [0, 60, 120, 200, -120])
def test_hue_is_turned_about_the_gray_axis(degrees, few):
    matrix = Rotation.from_rotvec(np.radians(degrees) * np.ones(3) / np.sqrt(3)).as_matrix()
    expected = np.einsum("dc,bchw->bdhw", matrix, few.image.double().numpy())
    np.testing.assert_allclose(turned_hue(few.image, degrees), expected, rtol=0, atol=1e-6)
    probe = Probe(Following(), few)
    clipped = fitted(probe, ColorControls, hue=float(degrees)).measure(probe)["clipped[rotated]"]
    outside = ((expected < -1e-6) | (expected > 1 + 1e-6)).mean((1, 2, 3))
    np.testing.assert_allclose(clipped, outside, rtol=0, atol=1e-4)
    assert (outside.max() > 0.01) == (degrees % 120 != 0)


def test_one_channel_cannot_be_recoloured(few):
    gray = Batch(few.image[:, :1], few.target, few.index)
    probe = planted(gray, torch.randn(32, 1, 64, 64))
    chosen = fitted(probe, ColorControls)
    columns = chosen.measure(probe)
    assert all(values.isnan().all() for values in columns.values())
    assert list(columns) == list(fitted(planted(few, few.image), ColorControls).measure(planted(few, few.image)))
    assert set(chosen.summarize(frame(probe, columns), {}).missing.values()) == {GRAY}


def test_controls_stand_beside_the_channels_in_a_run(few):
    model = load_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8)), mean=(0.5,) * 3, std=(0.2, 0.25, 0.3))
    data = load_data("photos").limit(24)
    run = analyze(model, data, ["channel_asymmetry", "color_controls"], progress=False)
    samples: pd.DataFrame = run.samples
    # A linear model's logits have one gradient each; the loss mixes them by the image.
    assert (samples["share_r[swapped]"] - samples["share_r"]).abs().max() > 0
    whole = np.log(samples["share_r"] / samples["share_b"])
    np.testing.assert_allclose(samples["log_r_over_b_model"] + samples["log_r_over_b_image"], whole, atol=1e-12)
    assert run.provenance["missing"] == {}
