"""AutoAttack is the other package's, brought to our images and back."""

import sys

import pytest
import torch
from attack_cases import size
from refusals import refused

import gradlens as gl
from gradlens.probes.probe import Probe


def test_autoattack_breaks_what_it_can_and_stays_in_its_ball(cnn, batch):
    pytest.importorskip("pyautoattack")
    probe, state, tracer = Probe(cnn, batch), torch.get_rng_state(), sys.gettrace()
    found = gl.attack(probe, "autoattack", eps=0.3)
    assert not found.correct.any()
    assert size(found.batch.image - batch.image, "linf").max() <= 0.3 + 1e-6
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.gettrace() is tracer


def test_autoattack_leaves_what_it_cannot_break(cnn, batch, monkeypatch):
    package = pytest.importorskip("pyautoattack")
    # The first of its four attacks is enough here.
    first = {"attacks_to_run": ["apgd-ce"]}
    monkeypatch.setattr(package.AutoAttack, "_set_version", lambda self, version: vars(self).update(first))
    probe = Probe(cnn, batch)
    found, by_pgd = (gl.attack(probe, name, eps=0.01) for name in ("autoattack", "pgd"))
    assert 0 < found.correct.sum() <= by_pgd.correct.sum() < probe.correct.sum()
    assert torch.equal(found.batch.image[found.correct], batch.image[found.correct])


def test_autoattack_without_its_package_says_how_to_get_it(cnn, batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with refused("pyautoattack", "gradlens[attacks]"):
        gl.attack(Probe(cnn, batch), "autoattack")
