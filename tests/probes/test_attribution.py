"""Captum attributes the label's logit of the very same model."""

import pytest
from gradients import relative_error

import gradlens as gl
from gradlens.core.types import UserError
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
    with pytest.raises(UserError, match="IntegratedGradients"):
        gl.attribution(Probe(cnn, batch), "IntegratedGradient")
