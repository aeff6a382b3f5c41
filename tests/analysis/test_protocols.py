"""A published setting is not replaced silently, and says how far it was followed."""

import dataclasses

import numpy as np
import pytest
from commands import run
from refusals import refused

from gradlens import Run
from gradlens.analysis.protocols import PROTOCOLS, protocol
from gradlens.analyzers import choose_analyzers, name_of
from gradlens.cli.commands._analyze import Analyze
from gradlens.data import Data

DEFAULTS = {f.name: f.default for f in dataclasses.fields(Analyze)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocols_attack_is_run_and_seen_by_the_others(name):
    *others, attack = choose_analyzers(protocol(name).analyzers)
    assert name_of(others[0]) == "sample_asymmetry"
    assert (attack.attack, attack.norm, attack.eps, attack.steps) == ("pgd", "linf", pytest.approx(4 / 255), 10)


def test_the_papers_attack_steps_half_its_radius_and_says_so():
    *_, attack = choose_analyzers(protocol("rodriguez2024").analyzers)
    assert attack.step_size == pytest.approx(attack.eps / 2)
    assert attack.parameters == "[pgd10,linf,4/255,step_size=2/255]"


def test_a_protocol_measures_robust_accuracy_and_says_how_far_it_was_followed(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 8 -b 4 --protocol robustbench -o published") == 0
    said = capsys.readouterr().out
    assert "fixes 5,000 images of imagenet-val, resized bicubic to 256, center 224 × 224; objective loss" in said
    assert "in place of the own preprocessing of good" in said
    assert "departs from it: 8 images instead of 5,000" in said
    assert said.index("departs") < said.index("top-1") < said.index("Not stated there")
    found = Run.load(place / "published")
    assert "robust[pgd10,linf,4/255]" in found.samples
    assert found.samples["robust[pgd10,linf,4/255]"].isin([0, 1]).all()
    assert found.provenance["preprocess"]["size"] == 224
    recorded = found.provenance["protocol"]
    assert (recorded["name"], recorded["images"]) == ("robustbench", 5000)
    assert recorded["deviations"] == [
        "the images are of digits, not imagenet-val",
        "8 images instead of 5,000",
    ]


class Named:
    """As many images of a name as wanted, none of which is looked at."""

    varies_in_size = False
    class_names = ("a",)

    def __init__(self, name, images):
        self.name, self.labels = name, np.zeros(images, np.int64)
        self.paths = [str(i) for i in range(images)]


@pytest.mark.parametrize(
    ("name", "images", "words"),
    [
        ("imagenet-val", 10_000, []),
        ("imagenet-val", 50_000, ["50,000 images instead of 10,000"]),
        ("imagenet-val", 99, ["99 images instead of 10,000"]),
        ("imagenet-a", 10_000, ["imagenet-a, not imagenet-val"]),
        ("shapes", 3, ["shapes", "3 images"]),
    ],
)
def test_deviations_are_the_images_that_differ(name, images, words):
    found = protocol("rodriguez2024").deviations(Data(Named(name, images)))
    assert len(found) == len(words)
    assert [w for w, said in zip(words, found, strict=True) if w not in said] == []


@pytest.mark.parametrize("name", PROTOCOLS)
def test_defaults_and_the_protocols_own_settings_are_no_conflict(name):
    fixed = protocol(name)
    fixed.check(DEFAULTS, DEFAULTS)
    fixed.check({**DEFAULTS, "analyzers": fixed.analyzers, "objective": "loss", "limit": fixed.images}, DEFAULTS)
    fixed.check({**DEFAULTS, "limit": 7}, DEFAULTS)


@pytest.mark.parametrize(
    ("flag", "value", "fixed"),
    [
        ("analyzers", "class_selectivity", "sample_asymmetry,robustness"),
        ("analyzers", "sample_asymmetry", "sample_asymmetry,robustness"),
        ("analyzers", "full", "sample_asymmetry"),
        ("objective", "true_logit", "loss"),
        ("objective", "loss,margin", "loss"),
        ("limit", 5001, "5000"),
    ],
)
def test_what_contradicts_a_protocol_is_refused_naming_both(flag, value, fixed):
    with refused(f"--{flag} {value}", "--protocol robustbench", f"fixes {fixed}", "leave one"):
        protocol("robustbench").check({**DEFAULTS, flag: value}, DEFAULTS)


def test_a_conflict_is_refused_before_anything_is_loaded(place, capsys):
    line = "analyze nowhere.pt --data digits --protocol robustbench --analyzers class_selectivity"
    assert run(place, line) == 2
    error = capsys.readouterr().err
    assert "contradict" in error
    assert "nowhere" not in error


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_states_its_source_and_what_is_unknown(name):
    fixed = protocol(name)
    assert fixed.source
    assert fixed.unstated
    assert choose_analyzers(fixed.analyzers)


def test_an_unknown_protocol_offers_the_nearest():
    with refused("robustbench"):
        protocol("robustbnech")
