"""Robust is what an attack leaves right, and the column says which attack."""

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import ATTACK
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analyzers import STANDARD, choose_analyzers, name_of
from gradlens.analyzers._robustness import Robustness
from gradlens.core.registry import analyzer
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe


@pytest.mark.parametrize(
    ("spec", "column"),
    [
        ("robustness", "robust[pgd10,linf,4/255]"),
        ("robustness:eps=2/255,steps=20,norm=l2", "robust[pgd20,l2,2/255]"),
        ("robustness:eps=0.5,norm=l2", "robust[pgd10,l2,0.5]"),
        ("robustness:eps=1,norm=l2", "robust[pgd10,l2,1]"),
        ("robustness:eps=0.0157", "robust[pgd10,linf,0.0157]"),
        ("robustness:step_size=2/255", "robust[pgd10,linf,4/255,step_size=2/255]"),
        ("robustness:restarts=3,random_start=true", "robust[pgd10,linf,4/255,restarts=3]"),
        ("robustness:norm=l2,eps=.5,random_start=false", "robust[pgd10,l2,0.5,random_start=False]"),
        ("robustness:attack=fgsm", "robust[fgsm,linf,4/255]"),
        ("robustness:attack=square,steps=30", "robust[square30,linf,4/255]"),
    ],
)
def test_column_names_the_attack(cnn, batch, spec, column):
    chosen = analyzer.build(spec)
    found = chosen.measure(Probe(cnn, batch))
    assert list(found) == [column]
    assert found[column].unique().tolist() in ([0.0], [1.0], [0.0, 1.0])
    scalars = chosen.summarize(pd.DataFrame(found), {}).scalars
    tail = column.removeprefix("robust")
    assert list(scalars) == [f"robust_accuracy{end}{tail}" for end in ("", "_low", "_high")]
    assert chosen.suffix == ""


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_is_what_the_attack_leaves(cnn, digits, norm):
    eps = {"linf": 8 / 255, "l2": 0.5}[norm]
    (flags,) = Robustness(norm=norm, eps=eps).measure(Probe(cnn, digits)).values()
    probe = Probe(cnn, digits)
    assert torch.equal(flags == 1, probe.correct & gl.attack(probe, "pgd", norm=norm, eps=eps, steps=10).correct)
    assert 0 < flags.mean() < probe.correct.double().mean()


def test_linear_model_is_robust_where_its_margin_is_wide():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = gl.load_model(net, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu")
    batch = Batch(0.3 + 0.4 * torch.rand(200, 3, 8, 8), torch.arange(200) % 2, torch.arange(200))
    eps, weight = 0.005, net[1].weight.detach() / 0.25
    room = Probe(model, batch).margin - eps * (weight[0] - weight[1]).abs().sum()
    (flags,) = Robustness(eps=eps).measure(Probe(model, batch)).values()
    clear = room.abs() > 1e-5
    assert torch.equal(flags[clear] == 1, room[clear] > 0)
    assert 0.05 < flags.mean() < 0.95


def test_clean_mistakes_are_not_robust(cnn, digits):
    wrong = Batch(digits.image, (digits.target + 1) % 10, digits.index)
    probe = Probe(cnn, wrong)
    (flags,) = Robustness(eps=8 / 255).measure(probe).values()
    assert not flags[~probe.correct].any()


def test_attack_that_overshoots_into_the_right_class_does_not_count(batch):
    class Wave(nn.Module):
        def forward(self, image):
            value = torch.sin(30 * image.mean((1, 2, 3)))
            return nn.functional.one_hot(batch.target, 10) * value[:, None]

    gray = Batch(torch.full_like(batch.image, 0.15), batch.target, batch.index)
    probe = Probe(Wave(), gray)
    assert not probe.correct.any()
    assert gl.attack(probe, "fgsm", eps=0.12).correct.all()
    (flags,) = Robustness(attack="fgsm", eps=0.12).measure(probe).values()
    assert not flags.any()


def test_step_restarts_and_start_are_the_attacks(cnn, digits):
    probe = Probe(cnn, digits)
    for given in ({"step_size": 0.02}, {"restarts": 4}, {"random_start": False}):
        (flags,) = Robustness(eps=8 / 255, steps=3, **given).measure(probe).values()
        attacked = gl.attack(probe, "pgd", eps=8 / 255, steps=3, **given)
        assert torch.equal(flags == 1, probe.correct & attacked.correct)


def test_robustness_leaves_the_probes_gradient_alone(cnn, batch):
    needs = ("gradient:loss",)
    probe, alone = Probe(cnn, batch, needs=needs), Probe(cnn, batch, needs=needs)
    Robustness().measure(probe)
    for found, expected in zip(probe.scaled_gradient(), alone.scaled_gradient(), strict=True):
        assert torch.equal(found, expected)


def test_unlabelled_images_have_no_robustness(cnn, batch):
    chosen = Robustness()
    columns = chosen.measure(Probe(cnn, Batch(batch.image, None, batch.index)))
    assert columns[f"robust{ATTACK}"].isnan().all()
    scalars, _, missing = chosen.summarize(pd.DataFrame(columns), {})
    assert np.isnan(list(scalars.values())).all()
    assert set(missing) == set(scalars)
    assert set(missing.values()) == {"the images have no labels"}


def test_robust_accuracy_is_in_percent_with_wilsons_interval():
    samples = pd.DataFrame({f"robust{ATTACK}": [1.0] * 3 + [0.0] * 8})
    scalars = Robustness().summarize(samples, {}).scalars
    found = [scalars[f"robust_accuracy{end}{ATTACK}"] for end in ("", "_low", "_high")]
    np.testing.assert_allclose(found, [27.2727, 9.7457, 56.5648], rtol=1e-4)


def test_two_radii_are_two_analyzers():
    chosen = choose_analyzers("robustness,robustness:eps=8/255")
    assert len({name_of(a) for a in chosen}) == 2
    assert "robustness" not in STANDARD


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("robustness:steps=0", ["0 steps", "at least 1"]),
        ("robustness:attack=pdg", ["'pdg'", "pgd"]),
        ("robustness:attack=square,norm=l2", ["'square'", "linf", "l2"]),
        ("robustness:attack=fgsm,steps=20", ["'fgsm'", "steps=20"]),
        ("robustness:attack=square,restarts=2", ["'square'", "restarts=2"]),
        ("robustness:eps=0", ["eps is 0", "4/255"]),
        ("robustness:eps=-.1", ["eps is -0.1"]),
    ],
)
def test_attacks_that_cannot_be_made_are_refused(spec, words):
    with refused(*words):
        analyzer.build(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("norm=l1", ["'l1'"]),
        ("eps=8", ["eps is 8", "4/255"]),
        ("norm=l2,eps=99", ["eps is 99", "l2"]),
        ("step_size=-1", ["step_size=-1"]),
    ],
)
def test_rooms_that_do_not_exist_are_refused(cnn, batch, spec, words):
    with refused(*words):
        analyzer.build(f"robustness:{spec}").measure(Probe(cnn, batch))


def test_a_run_tells_robust_from_vulnerable(cnn):
    chosen = "sample_asymmetry,robustness:eps=8/255,steps=5,robustness:eps=16/255,steps=5"
    run = gl.analyze(cnn, gl.load_data("digits"), chosen, objective=("loss", "true_logit"), limit=120, progress=False)
    near, far = "[pgd5,linf,8/255]", "[pgd5,linf,16/255]"
    flags = run.samples[[f"robust{near}", f"robust{far}"]]
    assert set(np.unique(flags)) == {0.0, 1.0}
    assert (flags[f"robust{near}"] >= flags[f"robust{far}"]).mean() > 0.98
    assert run.summary["top1"] > run.summary[f"robust_accuracy{near}"] > run.summary[f"robust_accuracy{far}"]
    assert run.summary[f"robust_accuracy{near}"] == pytest.approx(100 * flags[f"robust{near}"].mean())
    vulnerable = run.samples.loc[flags[f"robust{near}"] == 0]
    assert run.summary[f"l1_mean_vulnerable{near}"] == pytest.approx(vulnerable["l1"].mean())
    assert run.summary[f"l1_mean_vulnerable{near}@true_logit"] == pytest.approx(vulnerable["l1@true_logit"].mean())
