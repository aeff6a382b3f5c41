"""Captum attributes the label's logit of the very same model, and its maps go through the analyzers."""

import pytest
import torch
from gradients import relative_error
from refusals import refused

import gradlens as gl
from gradlens.probes.probe import Probe


def test_captums_gradient_is_that_of_the_label(cnn, batch):
    probe = Probe(cnn, batch)
    saliency = gl.attribution(probe, "Saliency", abs=False)
    assert relative_error(saliency, probe.gradient("true_logit")).max() < 1e-6
    assert not batch.image.requires_grad


def test_captum_attributes_the_same_label_under_every_method(cnn, batch):
    scaled = gl.attribution(Probe(cnn, batch), "InputXGradient")
    expected = batch.image * Probe(cnn, batch).gradient("true_logit")
    assert relative_error(scaled, expected).max() < 1e-6


def test_parameters_go_where_captum_takes_them(cnn, batch):
    probe, one = Probe(cnn, batch), {"nt_samples": 1, "stdevs": 0.0}
    tunnel = gl.attribution(probe, "NoiseTunnel", attribution_method="InputXGradient", **one)
    assert relative_error(tunnel, gl.attribution(probe, "InputXGradient")).max() < 1e-6
    windows = gl.attribution(probe, "Occlusion", sliding_window_shapes=(3, 32, 32))
    with torch.no_grad():
        fall = cnn(batch.image) - cnn(torch.zeros_like(batch.image))
    assert torch.allclose(windows[:, 0, 0, 0], fall.gather(1, batch.target[:, None])[:, 0], atol=1e-5)
    layer = next(name for name, m in cnn.net.named_modules() if isinstance(m, torch.nn.Conv2d))
    assert gl.attribution(probe, "LayerGradCam", layer=layer).shape[:2] == (len(batch), 1)


@pytest.mark.parametrize(
    ("method", "parameters", "said"),
    [
        ("IntegratedGradient", {}, ["IntegratedGradients"]),
        ("Lasso", {}, ["unknown attribution"]),
        ("NoiseTunnel", {}, ["attribution_method", "Saliency"]),
        ("LayerGradCam", {}, ["layer", "by name"]),
        ("LayerGradCam", {"layer": "nowhere"}, ["unknown layer"]),
        ("Occlusion", {}, ["sliding_window_shapes"]),
        ("Saliency", {"absolute": False}, ["absolute", "abs"]),
        ("Occlusion", {"sliding_window_shapes": (99, 99)}, ["Occlusion refuses"]),
    ],
)
def test_what_captum_wants_or_lacks_is_one_line(cnn, batch, method, parameters, said):
    with refused(*said):
        gl.attribution(Probe(cnn, batch), method, **parameters)


def test_a_map_goes_through_the_analyzers_as_a_gradient_does(cnn, batch):
    probe, names = Probe(cnn, batch), ["sample_asymmetry", "channel_asymmetry", "edge_concentration"]
    saliency = gl.attribution(probe, "Saliency", abs=False)
    found, expected = gl.measure(probe.with_map(saliency), names), gl.measure(Probe(cnn, batch), names)
    same = gl.measure(probe.with_map(probe.gradient()), names)
    for name in ("share_r", "edge_corr_contour"):
        assert torch.allclose(torch.as_tensor(same[name]), torch.as_tensor(expected[name]), rtol=1e-5, atol=1e-6)
        assert not torch.allclose(torch.as_tensor(found[name]), torch.as_tensor(expected[name]))
    with refused("is none of images", "interpolate"):
        probe.with_map(saliency[..., :8])
