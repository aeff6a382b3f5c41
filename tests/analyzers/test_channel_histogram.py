"""Every pixel of every channel is counted in the bin of its size."""

import numpy as np
import pytest
import torch
from planted import frame, planted, tallied

from gradlens.analyzers._channel_asymmetry import ChannelAsymmetry, _bin
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.tallies import Histogram


def counted(probe, objective="true_logit"):
    (values,) = ChannelAsymmetry(objective).observe(probe).values()
    tally = Histogram(3)
    tally.update(*values)
    return tally.state()


def test_every_pixel_is_counted_in_its_bin(few):
    edges = torch.from_numpy(Histogram.edges())
    gradient = torch.zeros(2, 3, 64, 64)
    # One value in the middle of every bin of red; underflow, overflow and what is no number in green.
    middle = (edges[:-1] * edges[1:]).sqrt().float()
    gradient[0, 0].view(-1)[:720] = middle
    gradient[1, 0].view(-1)[:720] = -middle
    gradient[0, 1].view(-1)[:6] = torch.tensor([1e-14, 9.9e-15, 1e-30, 9.9e3, 1.01e4, 1e30]) * 1.0001
    gradient[1, 1].view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = counted(planted(few[slice(0, 2)], gradient))
    np.testing.assert_array_equal(found["counts"][0], [0, *[2] * 720, 0])
    np.testing.assert_array_equal(found["counts"][1][[0, 1, 720, 721]], [2, 1, 1, 2])
    np.testing.assert_array_equal(found["invalid"], [0, 3, 0])
    np.testing.assert_array_equal(found["zeros"], [8192 - 1440, 8192 - 9, 8192])
    assert found["counts"].sum() + found["zeros"].sum() + found["invalid"].sum() == gradient.numel()


def test_histogram_is_numpys(cnn, few):
    probe = Probe(cnn, few)
    direction, scale = probe.scaled_gradient()
    exact = (direction.double() * scale.view(-1, 1, 1, 1)).abs().transpose(0, 1).flatten(1).numpy()
    found = counted(probe, "loss")["counts"][:, 1:-1]
    for row, values in zip(found, exact, strict=True):
        expected, _ = np.histogram(values, Histogram.edges())
        # The exponent is float32, about 1e-6 of 14 decades or 4e-5 of a bin: what lies as near to an edge may fall
        # on either side of it, and is then missed by one bin and found by its neighbour.
        place = Histogram.PER_DECADE * np.log10(values[values > 0])
        at_an_edge = (np.abs(place - np.rint(place)) < 1e-4).sum()
        assert np.abs(row - expected).sum() <= 2 * at_an_edge < 0.001 * len(values)
        assert expected.sum() > 0.99 * len(values)


def test_counts_stay_exact_beyond_float32():
    many = 2**24 + 7
    assert _bin(torch.full((many,), -20.0))[0] == many


def test_gray_images_have_one_channel(few):
    gray = Batch(few.image[:, :1], few.target, few.index)
    chosen, probe = ChannelAsymmetry("true_logit"), planted(gray, torch.randn(32, 1, 64, 64))
    tallies = tallied(chosen, probe)
    np.testing.assert_array_equal(tallies["histogram"].state()["counts"].sum(1), [32 * 4096, 0, 0])
    scalars = chosen.summarize(frame(probe, chosen.measure(probe)), tallies).scalars
    assert scalars["luminance_coherence_mean"] == pytest.approx(1)
    assert "share_g_mean" not in scalars


def test_gradients_below_float32_are_counted_as_underflow(few):
    batch = few[slice(0, 2)]
    gradient = torch.full((2, 3, 64, 64), 1e-3)
    found = counted(planted(batch, gradient, torch.tensor([300.0, 1000.0])), "loss")
    np.testing.assert_array_equal(found["counts"][:, 0], [4096] * 3)
    np.testing.assert_array_equal(found["zeros"], [4096] * 3)


def test_special_logarithms_have_slots_of_their_own():
    exponent = torch.tensor([-torch.inf, -torch.inf, -400.0, -14.01, -13.99, 3.99, 4.01, 60, torch.inf, torch.nan])
    slots = _bin(exponent)
    assert len(slots) == 724
    assert slots[[0, 1, 720, 721, 722, 723]].tolist() == [2, 1, 1, 2, 2, 2]
