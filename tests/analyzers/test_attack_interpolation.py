"""The way to an attack begins at the image and passes the attack at s = 1, in loss, gradient and curvature."""

import numpy as np
import pytest
from planted import summarized

import gradlens as gl
from gradlens import UserError
from gradlens.analyzers._attack_interpolation import AttackInterpolation
from gradlens.analyzers._curvature import Curvature
from gradlens.models._zoo import digits_cnn
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe

HALF = (0.5, 0.5, 0.5)


def test_its_points_are_the_image_and_the_attack(cnn, digits):
    batch = digits[slice(0, 8)]
    chosen, probe = AttackInterpolation(points=3, steps=2, products=40), Probe(cnn, batch)
    summary = summarized(chosen, probe)
    attacked = attack(probe, "pgd", eps=4 / 255, steps=2)
    assert summary.arrays["s"].tolist() == [0, 1, 2]
    for place, look in ((0, probe), (1, attacked)):
        l1 = look.gradient("loss").abs().sum((1, 2, 3)).double()
        curvature = Curvature().measure(look)["curvature"]
        for name, values in (("loss", look.loss), ("l1", l1), ("curvature", curvature)):
            assert summary.arrays[name][place] == pytest.approx(values.mean().item(), rel=0.01)
            error = values.std().item() / len(values) ** 0.5
            assert summary.arrays[f"{name}_error"][place] == pytest.approx(error, rel=0.02)
    gain = (attacked.loss - probe.loss).mean().item()
    assert summary.scalars["interpolation_gain"] == pytest.approx(gain, rel=1e-6)
    assert gain > 0


def test_a_piecewise_linear_network_has_all_but_the_curvature(batch):
    model = gl.load_model(digits_cnn(activation="relu", width=4), mean=HALF, std=HALF, device="cpu")
    arrays = summarized(AttackInterpolation(points=3, steps=1), Probe(model, batch)).arrays
    assert np.isnan(arrays["curvature"]).all()
    assert np.isfinite(arrays["l1"]).all()


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"eps": 4.0}, {"steps": 0}, {"points": 2}, {"products": 0}])
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(UserError):
        AttackInterpolation(**wrong)
