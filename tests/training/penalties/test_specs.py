"""A penalty's spec: its weight's ramp, what is recorded, wrong ones in one line, and a user's own."""

import pytest
import torch
from penalty_cases import EPS, value

import gradlens as gl
from gradlens.core.registry import load_plugin, penalty
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe
from gradlens.training.penalties import Ramp, choose_penalty


def test_weights_grow_as_the_papers_do():
    gradnorm, edge = choose_penalty("gradnorm:alpha=0,step=.24,cap=1.2"), choose_penalty("edge:alpha=1,step=.09,cap=19")
    for epoch in (0, 0.3, 1.5, 4.9, 5, 50, 100):
        assert gradnorm.ramp.at(epoch) == pytest.approx(1.2 * max(0, min(0.0 + epoch * 0.2, 1.0)))
        assert edge.ramp.at(epoch) == pytest.approx(min(1.0 + 0.09 * epoch, 19.0))
    assert edge.ramp.at(100) == pytest.approx(10)


def test_weight_without_a_ramp_stays():
    assert {choose_penalty("gradnorm:alpha=.3").ramp.at(epoch) for epoch in (0, 1.5, 300)} == {0.3}
    assert choose_penalty("gradnorm").ramp.at(7) == 1


def test_falling_weight_stops_at_zero():
    assert [Ramp(1, -0.5).at(epoch) for epoch in (0, 1, 2, 3)] == [1, 0.5, 0, 0]


def test_spec_says_all_that_is_recorded():
    chosen = choose_penalty("edge:target=canny:sigma=2,alpha=1,step=.09,cap=10,batchwise=false")
    ramp = {"alpha": 1.0, "step": 0.09, "cap": 10.0}
    own = {
        "target": "canny:sigma=2",
        "map": "contour_energy",
        "space": "pixel",
        "objective": "sampled_logit",
        "form": "signed",
        "batchwise": False,
    }
    assert chosen.provenance() == {"name": "edge", **own, **ramp}
    assert (choose_penalty("gradnorm:eps=8/255").eps, chosen.eps) == (8 / 255, EPS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("edg", "unknown penalty 'edg'; did you mean edge"),
        ("edge:stp=1", "parameter of penalty 'edge' 'stp'; did you mean step"),
        ("gradnorm:threshold=1", "there are: alpha, cap, eps, norm, space, step"),
        ("gradnorm:eps=much", "eps=much is not a float"),
        ("edge:step=much", "weight of penalty 'edge': step=much is not a float"),
        ("edge:alpha=5,cap=1", r"alpha=5, grows by step=0 an epoch and ends at cap=1; wanted 0 ≤ alpha ≤ cap"),
        ("edge:alpha=-1", "wanted 0 ≤ alpha"),
    ],
)
def test_wrong_spec_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        choose_penalty(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gradnorm:norm=linv", "unknown norm of an attack 'linv'; did you mean linf"),
        ("gradnorm:eps=4", "eps is 4; wanted an attack's radius in pixels of .0, 1., such as 4/255"),
        ("gradnorm_channel:eps=0", "eps is 0"),
        ("off_edge:eps=-1", "eps is -1"),
        ("edge:form=sign", "unknown form 'sign' of edge; there are: signed, saliency"),
        ("edge:target=cany", "unknown edge map or target of edge 'cany'; did you mean canny"),
        ("edge:objective=los", "unknown objective 'los'"),
    ],
)
def test_wrong_parameter_is_refused(cnn, batch, spec, message):
    with pytest.raises(UserError, match=message):
        value(cnn, batch, spec)


def test_one_small_file_adds_a_penalty(tmp_path, cnn, batch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from gradlens.core.registry import penalty\n\n"
        "@penalty\ndef energy(probe, power: float = 2.0):\n"
        "    return (probe.gradient('margin').abs() ** power).sum((1, 2, 3))\n\n"
        "@penalty\n@dataclass\nclass Steepness:\n"
        "    factor: float = 1.0\n    needs = ('units',)\n\n"
        "    def __call__(self, probe):\n        return self.factor * probe.gradient().flatten(1).norm(dim=1)\n"
    )
    load_plugin(str(tmp_path / "mine.py"))
    try:
        g = gl.input_gradient(cnn, batch.image, batch.target, objective="margin")
        found = value(cnn, batch, "energy:power=3,alpha=.5")
        torch.testing.assert_close(found, g.abs().pow(3).sum((1, 2, 3)), rtol=1e-4, atol=1e-6)
        steep = choose_penalty("steepness:factor=2,step=1")
        expected = 2 * value(cnn, batch, "gradnorm:norm=l2,eps=1")
        torch.testing.assert_close(steep(Probe(cnn, batch)), expected, rtol=1e-5, atol=1e-7)
        assert steep.needs == ("units",)
    finally:
        del penalty._methods["energy"], penalty._methods["steepness"]
