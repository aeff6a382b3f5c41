"""Kept perturbations are what the attack adds, with what it did to the image."""

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

from gradlens import Run, analyze, load_data
from gradlens.analyzers.gallery import Perturbations
from gradlens.core.types import Batch
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe

NAMES = ["index", "image", "perturbation", "outcome", "attack"]


def kept(probes, **parameters):
    chosen = Perturbations(**parameters)
    for probe in probes:
        chosen.fit(probe)
    return chosen.summarize(pd.DataFrame(), chosen.tallies())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"eps": 0.05}, "pgd10,linf,0.05"),
        ({"attack": "fgsm", "eps": 8 / 255}, "fgsm,linf,8/255"),
        ({"norm": "l2", "eps": 0.5, "steps": 3}, "pgd3,l2,0.5"),
    ],
)
def test_what_is_kept_is_the_attacked_image_minus_the_given_one(parameters, name, cnn, digits):
    arrays = kept([Probe(cnn, digits, seed=3)], images=6, **parameters).arrays
    assert list(arrays) == NAMES
    assert str(arrays["attack"]) == name
    few = digits[slice(0, 6)]
    options = {k: v for k, v in parameters.items() if k != "attack"}
    there = attack(Probe(cnn, few, seed=3), parameters.get("attack", "pgd"), **options)
    delta = (there.batch.image - few.image).numpy()
    np.testing.assert_allclose(arrays["perturbation"], delta, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(arrays["image"], few.image, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(arrays["index"], few.index)


def test_outcomes_tell_mistakes_from_what_the_attack_broke(cnn, digits):
    summary = kept([Probe(cnn, digits)], images=64, eps=0.03)
    probe = Probe(cnn, digits)
    there = attack(probe, "pgd", eps=0.03, steps=10)
    before, after = probe.correct.numpy(), there.correct.numpy()
    expected = np.where(~before, 2, np.where(after, 0, 1))
    np.testing.assert_array_equal(summary.arrays["outcome"], expected)
    # A case that shows nothing would pass with any code.
    assert set(expected) == {0, 1, 2}
    assert summary.scalars == {"perturbations_kept": 64, "perturbations_broken": int((expected == 1).sum())}


@pytest.mark.parametrize(("size", "images"), [(16, 20), (64, 20), (7, 3)])
def test_pieces_of_the_pilot_make_one_set(size, images, cnn, digits):
    pieces = [Probe(cnn, digits[slice(i, i + size)]) for i in range(0, 64, size)]
    found, whole = (kept(probes, images=images) for probes in (pieces, [Probe(cnn, digits)]))
    assert found.scalars == whole.scalars
    assert len(found.arrays["index"]) == images
    # The sign of a gradient that is nearly zero may turn with rounding.
    same = np.isclose(found.arrays["perturbation"], whole.arrays["perturbation"], atol=1e-4)
    assert same.mean() > 0.999


def test_without_labels_it_is_the_predictions_stability(cnn, digits):
    unlabelled = Batch(digits.image, None, digits.index)
    outcome = kept([Probe(cnn, unlabelled)], images=64, eps=0.03).arrays["outcome"]
    assert set(outcome) == {0, 1}


def test_a_run_keeps_perturbations_of_several_attacks(cnn, tmp_path):
    data = load_data("digits").limit(20)
    specs = ["perturbations:images=4", "perturbations:images=4,attack=fgsm", "sample_asymmetry"]
    run = analyze(cnn, data, specs, tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    for setting in ("perturbations[images=4]", "perturbations[images=4,attack=fgsm]"):
        assert loaded.arrays[f"{setting}/perturbation"].shape == (4, 3, 32, 32)
        assert np.abs(loaded.arrays[f"{setting}/perturbation"]).max() == pytest.approx(4 / 255, rel=1e-3)
    assert str(loaded.arrays["perturbations[images=4]/attack"]) == "pgd10,linf,4/255"
    assert run.summary["perturbations_kept[images=4]"] == 4


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"images": 0}, ["0 images", "images=1"]),
        ({"steps": 0}, ["0 steps", "at least 1"]),
        ({"attack": "pdg"}, ["pdg", "pgd"]),
        ({"attack": "square", "norm": "l2"}, ["square", "l2"]),
    ],
)
def test_impossible_parameters_are_refused(parameters, words):
    with refused(*words):
        Perturbations(**parameters)


def test_it_costs_no_gradient_beyond_the_images_that_are_kept(cnn, digits):
    seen = []
    handle = cnn.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    kept([Probe(cnn, digits)], images=5, steps=3)
    handle.remove()
    assert set(seen) == {5}
    assert torch.is_grad_enabled()
