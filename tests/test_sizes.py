"""What gradient size says: its spread, its parts, its groups, and robustness under an attack."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import frame, planted
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analyzers import STANDARD, choose_analyzers, name_of
from gradlens.analyzers._robustness import Robustness
from gradlens.analyzers._sample_asymmetry import SampleAsymmetry
from gradlens.core.registry import analyzer
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.separation import auc, auc_gain, logistic_gain
from gradlens.stats.tails import gini, top_share

ATTACK = "[pgd10,linf,4/255]"
CONSTANT = "every image has the same"


def made_up(rng, n=400, **columns):
    """A run's columns where L1 is the error mass times a steepness of its own."""
    error_mass = rng.beta(0.3, 1, n)
    steepness = rng.lognormal(0, 0.6, n)
    vulnerable = np.log(error_mass * steepness) + 0.3 * rng.normal(size=n) > -2
    made = {
        "l1": error_mass * steepness,
        "l1_logit": steepness,
        "error_mass": error_mass,
        "loss": -np.log1p(-error_mass),
        "correct": error_mass + 0.3 * rng.normal(size=n) < 0.6,
        "gradient_flag": 0.0,
        f"robust{ATTACK}": (~vulnerable).astype(float),
    }
    return pd.DataFrame({**made, **columns})


def summary_of(samples, objective="loss"):
    summary = SampleAsymmetry(objective).summarize(samples, {})
    unexplained = {k for k, v in summary.scalars.items() if not np.isfinite(v)} - set(summary.missing)
    assert not unexplained
    assert all(np.isnan(summary.scalars.get(k, np.nan)) for k in summary.missing)
    return summary


# --- parts of the spread


def test_shares_of_log_l1_are_those_of_its_factors(rng):
    samples = made_up(rng)
    scalars = summary_of(samples).scalars
    mass, steepness = np.log(samples["error_mass"]), np.log(samples["l1_logit"])
    total = np.log(samples["l1"]).var()
    found = [scalars[f"log_l1_share_{of}"] for of in ("error_mass", "l1_logit", "covariance")]
    expected = [mass.var() / total, steepness.var() / total, 2 * np.cov(mass, steepness)[0, 1] / total]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert sum(found) == pytest.approx(1, rel=1e-12)
    assert scalars["log_l1_left_out"] == 0


def test_size_that_is_only_the_loss_is_seen_through(rng):
    samples = made_up(rng)
    samples["l1"], samples["l1_logit"] = 3 * samples["error_mass"], 3.0
    scalars, _, missing = summary_of(samples)
    assert scalars["log_l1_share_error_mass"] == pytest.approx(1)
    assert scalars["l1_auc_wrong"] == scalars["loss_auc_wrong"] > 0.8
    assert scalars["l1_auc_gain_wrong"] == 0
    assert missing["l1_auc_gain_wrong_p"] == "the loss and l1 rank the images alike"
    assert scalars["l1_r2_gain_wrong"] == pytest.approx(0, abs=1e-6)
    assert missing["l1_logit_r2_gain_wrong"] == f"{CONSTANT} l1_logit"


def test_size_that_knows_more_than_the_loss_is_heard(rng):
    scalars = summary_of(made_up(rng)).scalars
    name = f"vulnerable{ATTACK}"
    assert scalars[f"l1_auc_{name}"] > scalars[f"loss_auc_{name}"]
    assert scalars[f"l1_auc_gain_vulnerable_low{ATTACK}"] > 0
    assert scalars[f"l1_auc_gain_vulnerable_p{ATTACK}"] < 1e-3
    assert scalars[f"l1_r2_gain_{name}"] > 0.1


def test_zeros_are_left_out_of_logarithms_and_counted(rng):
    samples = made_up(rng)
    without = summary_of(samples[5:]).scalars
    samples.loc[:1, ["l1", "l1_logit"]] = 0
    samples.loc[2, "l1_logit"] = np.nan
    samples.loc[3, "l1"] = np.nan
    samples.loc[4, ["l1", "l1_logit"]] = np.inf
    scalars = summary_of(samples).scalars
    assert scalars["log_l1_left_out"] == 5
    assert without["log_l1_left_out"] == 0
    for of in ("error_mass", "l1_logit", "covariance"):
        assert scalars[f"log_l1_share_{of}"] == pytest.approx(without[f"log_l1_share_{of}"], rel=1e-12)


def test_other_objectives_have_no_parts(rng):
    # The loss's own columns may stand beside theirs.
    scalars = summary_of(made_up(rng), "true_logit").scalars
    assert not [k for k in scalars if "logit" in k or "log_l1" in k]
    assert "l1_auc_gain_wrong" in scalars


def test_spread_is_told_with_limits_and_at_a_fixed_size(rng):
    samples = made_up(rng, 1000)
    scalars = summary_of(samples).scalars
    assert scalars["l1_gini"] == gini(samples["l1"])
    assert scalars["l1_top_share"] == top_share(samples["l1"])
    assert scalars["l1_q99_ratio"] == pytest.approx(samples["l1"].quantile(0.99) / samples["l1"].median())
    for of in ("gini", "cv", "top_share", "log_sd", "q90_ratio", "q99_ratio", "tail_index"):
        assert scalars[f"l1_{of}_low"] < scalars[f"l1_{of}"] < scalars[f"l1_{of}_high"]
    assert scalars["l1_gini_at_200"] == pytest.approx(scalars["l1_gini"], rel=0.02)
    assert summary_of(samples).scalars == scalars


# --- groups


def test_conditional_sizes_are_those_of_their_images(rng):
    samples = made_up(rng)
    scalars = summary_of(samples).scalars
    robust, correct = samples[f"robust{ATTACK}"] == 1, samples["correct"]
    expected = {
        "": correct | ~correct,
        "_correct": correct,
        "_wrong": ~correct,
        f"_robust{ATTACK}": robust,
        f"_vulnerable{ATTACK}": ~robust,
        f"_robust_correct{ATTACK}": robust & correct,
        f"_vulnerable_correct{ATTACK}": ~robust & correct,
    }
    for group, rows in expected.items():
        l1 = samples.loc[rows, "l1"]
        assert scalars[f"l1_mean{group}"] == pytest.approx(l1.mean(), rel=1e-12)
        assert scalars[f"l1_median{group}"] == pytest.approx(l1.median(), rel=1e-12)
        assert scalars[f"l1_n{group}"] == len(l1)
    low, high = (scalars[f"l1_mean_vulnerable_correct_{end}{ATTACK}"] for end in ("low", "high"))
    assert low < scalars[f"l1_mean_vulnerable_correct{ATTACK}"] < high


def test_vulnerable_among_the_correct_is_a_question_of_its_own(rng):
    samples = made_up(rng)
    scalars, correct = summary_of(samples).scalars, samples["correct"]
    sound, vulnerable = samples[correct], samples.loc[correct, f"robust{ATTACK}"] == 0
    name = f"vulnerable_correct{ATTACK}"
    assert scalars[f"l1_auc_{name}"] == pytest.approx(auc(sound["l1"], vulnerable), rel=1e-12)
    gain = auc_gain(sound["l1_logit"], sound["loss"], vulnerable)
    assert scalars[f"l1_logit_auc_gain_{name}"] == pytest.approx(gain.value, rel=1e-12)
    known = np.log(sound["loss"]), np.log(sound["error_mass"])
    expected = logistic_gain(np.log(sound["l1_logit"]), known, vulnerable)
    assert scalars[f"l1_logit_r2_gain_{name}"] == pytest.approx(expected, abs=1e-7)
    # Given the error mass, either form of size knows what the other does.
    assert scalars[f"l1_r2_gain_{name}"] == pytest.approx(expected, abs=1e-6)


def test_every_attack_has_numbers_of_its_own(rng):
    other = "[pgd20,l2,0.5]"
    samples = made_up(rng, **{f"robust{other}": rng.integers(2, size=400).astype(float)})
    scalars = summary_of(samples).scalars
    for tail in (ATTACK, other):
        assert scalars[f"l1_n_robust{tail}"] + scalars[f"l1_n_vulnerable{tail}"] == 400
    assert scalars[f"l1_mean_robust{ATTACK}"] != scalars[f"l1_mean_robust{other}"]


# --- what is not there


@pytest.mark.parametrize(("correct", "reason"), [(True, "no image is wrong"), (False, "every image is wrong")])
def test_models_that_are_always_right_or_always_wrong(rng, correct, reason):
    scalars, _, missing = summary_of(made_up(rng, correct=correct))
    for name in ("l1_auc_wrong", "loss_auc_wrong", "l1_auc_gain_wrong", "l1_r2_gain_wrong", "l1_logit_auc_wrong"):
        assert np.isnan(scalars[name])
        assert missing[name] == reason
    empty = "wrong" if correct else "correct"
    assert missing[f"l1_mean_{empty}"] == missing[f"l1_median_{empty}"] == f"no image is {empty}"
    assert scalars[f"l1_n_{empty}"] == 0
    assert np.isfinite(scalars["l1_mean"])


@pytest.mark.parametrize(("robust", "reason"), [(1.0, "no image is vulnerable"), (0.0, "every image is vulnerable")])
def test_attacks_that_never_or_always_succeed(rng, robust, reason):
    scalars, _, missing = summary_of(made_up(rng, **{f"robust{ATTACK}": robust}))
    for name in ("l1_auc", "l1_auc_gain", "l1_r2_gain"):
        assert np.isnan(scalars[f"{name}_vulnerable{ATTACK}"])
        assert missing[f"{name}_vulnerable{ATTACK}"] == reason


def test_a_single_wrong_image_has_no_interval(rng):
    scalars, _, missing = summary_of(made_up(rng, correct=np.arange(400) != 7))
    assert scalars["l1_n_wrong"] == 1
    assert np.isfinite(scalars["l1_mean_wrong"])
    assert missing["l1_mean_wrong_low"] == "only 1 of the images are wrong"
    assert np.isfinite(scalars["l1_auc_wrong"])
    assert missing["l1_auc_wrong_low"] == missing["l1_auc_gain_wrong_p"] == "only one image is wrong"


def test_a_loss_that_separates_perfectly_leaves_no_fit(rng):
    samples = made_up(rng)
    samples["correct"] = samples["loss"] < samples["loss"].median()
    scalars, _, missing = summary_of(samples)
    assert scalars["loss_auc_wrong"] == 1
    assert missing["loss_auc_wrong_low"] == "loss separates the images perfectly"
    assert missing["l1_r2_gain_wrong"] == "the loss and l1 together separate the images perfectly"
    assert scalars["l1_auc_gain_wrong_high"] < 0


def test_unlabelled_images_are_in_no_group(rng):
    samples = made_up(rng, **{f"robust{ATTACK}": np.nan}).drop(columns="correct")
    scalars, _, missing = summary_of(samples)
    assert not [k for k in scalars if any(word in k for word in ("correct", "wrong", "robust", "vulnerable"))]
    assert missing["l1_mean_wrong"] == missing["l1_auc_wrong"] == "the images have no labels"
    assert np.isfinite(scalars["l1_gini"])


def test_gradients_of_one_size_have_no_spread_to_explain(rng):
    scalars, _, missing = summary_of(made_up(rng, l1=0.25, l1_logit=0.5))
    assert scalars["l1_gini"] == pytest.approx(0, abs=1e-12)
    assert missing["l1_gini_low"] == missing["l1_tail_index"] == "every gradient has the same size"
    assert missing["log_l1_share_error_mass"] == "log L1 does not vary"
    assert missing["l1_auc_wrong_low"] == missing["l1_r2_gain_wrong"] == f"{CONSTANT} l1"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_gradients_of_nothing_are_missing(rng, value):
    scalars, _, missing = summary_of(made_up(rng, l1=value, l1_logit=value))
    assert missing["l1_gini"] == missing["l1_tail_index"] == "no gradient is above zero"
    assert missing["log_l1_share_error_mass"] == "log L1 does not vary"
    assert scalars["log_l1_left_out"] == 400
    assert np.isnan(scalars["l1_r2_gain_wrong"])


def test_few_gradients_above_zero_have_no_tail(rng):
    l1 = np.where(np.arange(5000) < 30, rng.lognormal(size=5000), 0)
    scalars, _, missing = summary_of(made_up(rng, 5000, l1=l1))
    assert scalars["l1_gini"] > 0.99
    assert missing["l1_gini_at_200"] == "nearly every gradient is zero"
    assert missing["l1_q90_ratio"] == "half of the gradients are zero"


@pytest.mark.parametrize(
    ("n", "name", "reason"),
    [
        (19, "l1_gini_low", "fewer than 20 gradients are above zero"),
        (99, "l1_top_share", "fewer than 100 images have no largest 1 %"),
        (199, "l1_gini_at_200", "fewer than 200 images"),
        (300, "l1_q99_ratio_high", "too few images for the quantile's limits"),
    ],
)
def test_small_samples_say_what_they_lack(rng, n, name, reason):
    assert summary_of(made_up(rng, n)).missing[name] == reason
    assert name not in summary_of(made_up(rng, 400)).missing


def test_table_shows_numbers_that_are_there(rng):
    scalars = summary_of(made_up(rng)).scalars
    keys = [reading.key for reading in SampleAsymmetry().readings]
    assert set(keys) <= set(scalars)
    assert len(keys) <= 12
    assert [r.key for r in Robustness().readings[1:]] == [
        f"{name}_vulnerable{ATTACK}" for name in ("l1_auc", "loss_auc", "l1_auc_gain")
    ]
    assert {r.key for r in Robustness().readings[1:]} <= set(scalars)


# --- robustness


@pytest.mark.parametrize(
    ("spec", "column"),
    [
        ("robustness", "robust[pgd10,linf,4/255]"),
        ("robustness:eps=2/255,steps=20,norm=l2", "robust[pgd20,l2,2/255]"),
        ("robustness:eps=0.5,norm=l2", "robust[pgd10,l2,0.5]"),
        ("robustness:eps=1,norm=l2", "robust[pgd10,l2,1]"),
        ("robustness:eps=0.0157", "robust[pgd10,linf,0.0157]"),
        ("robustness:eps=0", "robust[pgd10,linf,0]"),
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


def test_no_radius_leaves_the_clean_accuracy(cnn, digits):
    probe = Probe(cnn, digits)
    (flags,) = Robustness(eps=0.0).measure(probe).values()
    assert torch.equal(flags == 1, probe.correct)


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
    ],
)
def test_attacks_that_cannot_be_made_are_refused(spec, words):
    with refused(*words):
        analyzer.build(spec)


@pytest.mark.parametrize(("spec", "words"), [("norm=l1", ["'l1'"]), ("eps=8", ["eps is 8", "4/255"])])
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


def test_a_trained_models_size_is_mostly_its_loss(cnn, digits):
    probe = Probe(cnn, digits)
    samples = frame(probe, SampleAsymmetry().measure(probe))
    scalars = summary_of(samples).scalars
    assert scalars["log_l1_share_error_mass"] > 0.7
    mass = np.log(probe.error_mass.numpy())
    assert scalars["log_l1_share_error_mass"] == pytest.approx(
        mass.var() / np.log(samples["l1"].to_numpy()).var(), rel=1e-6
    )


def test_planted_gradients_have_the_planted_sizes(shapes):
    batch = shapes[slice(0, 100)]
    size = torch.arange(1, 101) / 50
    gradient = size.view(-1, 1, 1, 1) * torch.ones_like(batch.image)
    probe = planted(batch, gradient)
    chosen = SampleAsymmetry("true_logit")
    scalars = chosen.summarize(frame(probe, chosen.measure(probe)), {}).scalars
    assert scalars["l1_mean"] == pytest.approx(1.01 * batch.image[0].numel(), rel=1e-6)
    assert scalars["l1_gini"] == pytest.approx(gini(size), rel=1e-6)
    assert scalars["l1_top_share"] == pytest.approx(2 / 101, rel=1e-6)
