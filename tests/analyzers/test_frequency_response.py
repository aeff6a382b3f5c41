"""Filters and noise are where they say in frequency, also of images that are not square, and the DCT is scipy's."""

import numpy as np
import pytest
import torch
from planted import summarized
from scipy.fft import dctn
from torch import nn

from gradlens import UserError
from gradlens.analyzers._frequency_response import FrequencyResponse, dct, dct_radius, inverse_dct, low_pass
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

HEIGHT, WIDTH = 24, 40


@pytest.fixture
def images():
    return torch.rand(5, 3, HEIGHT, WIDTH)


def wave(cycles_down, cycles_across):
    y, x = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    return torch.cos(2 * torch.pi * (cycles_down * y / HEIGHT + cycles_across * x / WIDTH))


def test_the_dct_is_scipys_and_has_its_inverse(images):
    expected = dctn(images.double().numpy(), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(dct(images).numpy(), expected, atol=1e-4)
    torch.testing.assert_close(inverse_dct(dct(images)), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("down", "across"), [(0, 8), (5, 0), (4, 7), (11, 1)])
def test_a_wave_passes_up_to_its_frequency_and_not_below(down, across):
    image = wave(down, across)[None, None]
    radius = np.hypot(down / HEIGHT, across / WIDTH)
    torch.testing.assert_close(low_pass(image, radius), image, rtol=0, atol=1e-5)
    assert low_pass(image, radius - 0.01).abs().max() < 1e-5


def test_the_filter_of_a_square_image_is_the_papers_without_its_folding():
    image, side, radius = torch.rand(1, 3, 32, 32), 32, 6
    y, x = np.ogrid[:side, :side]
    kept = (y - side // 2) ** 2 + (x - side // 2) ** 2 <= radius**2
    spectrum = np.fft.fftshift(np.fft.fft2(image.numpy()), axes=(2, 3)) * kept
    expected = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(2, 3))).real
    np.testing.assert_allclose(low_pass(image, radius / side).numpy(), expected, atol=1e-5)


def test_noise_of_a_band_lies_in_it_and_has_the_energy_of_the_others(images):
    chosen = FrequencyResponse(bands=5)
    probe = Probe(nn.Flatten(), Batch(images, torch.zeros(5, dtype=torch.long), torch.arange(5)))
    radius = dct_radius(HEIGHT, WIDTH)
    for band, noise in enumerate(chosen._noises(probe)):
        inside = (radius >= chosen.edges[band]) & (radius < chosen.edges[band + 1])
        coefficients = dct(noise).numpy()
        assert np.abs(coefficients[..., ~inside]).max() < 1e-4
        # Of the fewest coefficients, the deviation of their mean square is a seventh.
        assert noise.square().mean().sqrt().item() == pytest.approx(1, abs=4 / np.sqrt(2 * 15 * inside.sum()))


class Reads(nn.Module):
    """Two classes by the sign of one wave, which stands on a plain gray."""

    def __init__(self, pattern):
        super().__init__()
        self.pattern = pattern

    def forward(self, image):
        value = ((image - 0.5) * self.pattern).flatten(1).mean(1)
        return torch.stack([-value, value - 1e-4], 1)


def response(pattern, **parameters):
    label = torch.arange(12) % 2
    image = 0.5 + 0.3 * (2 * label - 1).view(-1, 1, 1, 1) * pattern.expand(12, 3, -1, -1)
    chosen = FrequencyResponse(**parameters)
    probe = Probe(Reads(pattern), Batch(image, label, torch.arange(12)))
    chosen.fit(probe)
    return summarized(chosen, probe), probe


def test_accuracy_comes_where_the_filter_lets_the_models_frequency_through():
    # 8 of 40: 0.2 cycles a pixel.
    summary, _ = response(wave(0, 8), cutoffs=10)
    cutoff, accuracy = summary.arrays["lowpass/cutoff"], summary.arrays["lowpass/accuracy"]
    assert (accuracy[cutoff > 0.199] == 100).all()
    assert (accuracy[cutoff < 0.199] == 50).all()
    assert summary.scalars["lowpass_accuracy"] == pytest.approx(85)


def test_noise_costs_most_in_the_models_band():
    # A basis function of the DCT, which has all of its energy in one band.
    pattern = torch.cos(torch.pi * 16 / WIDTH * (torch.arange(WIDTH) + 0.5)).expand(HEIGHT, WIDTH)
    summary, _ = response(pattern, cutoffs=1, bands=4, sigma=30.0)
    assert sorted(summary.arrays["noise/accuracy"])[1] == 100
    low, high = summary.arrays["noise/edges"][1:3]
    assert low < 0.2 < high
    assert low < summary.scalars["noise_worst_frequency"] < high
    assert summary.scalars["noise_accuracy_worst"] < 100


def test_the_maps_are_mean_absolute_coefficients():
    summary, probe = response(wave(3, 5), cutoffs=1, bands=1)
    for name, values in (("image", probe.batch.image), ("gradient", probe.gradient("loss"))):
        expected = np.abs(dctn(values.double().numpy(), axes=(2, 3), norm="ortho")).mean((0, 1))
        np.testing.assert_allclose(summary.arrays[f"map/{name}"], expected, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"cutoffs": 0}, {"bands": 0}, {"sigma": 0.0}])
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(UserError, match="frequency_response"):
        FrequencyResponse(**wrong)
