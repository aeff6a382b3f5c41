"""Attacks on a GPU reach as far as on the CPU."""

import copy

from on_gpu import GPU, needs_gpu

import gradlens as gl

pytestmark = needs_gpu


def test_attacks_reach_as_far_as_on_the_cpu(cnn, digits):
    image, target, index = digits.image, digits.target, digits.index
    chosen = gl.methods("analyzers")["minimal_eps"](low=0.01, high=0.1, points=10, steps=10, restarts=2, queries=100)
    here = chosen.measure(gl.probe(cnn, image, target))["eps_min"]
    there = copy.deepcopy(cnn).to(GPU)
    found = chosen.measure(gl.probe(there, image.to(GPU), target.to(GPU)))["eps_min"].cpu()
    assert len(index) == 64
    # A step of the grid is .01; a start or a step may round to the other side of a boundary.
    assert float((found != here).double().mean()) < 0.1
    assert float((found - here).abs().max()) < 0.011
