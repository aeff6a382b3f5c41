"""Sizes are told with limits, for each group of images, and what is not there with its reason."""

import numpy as np
import pytest
from made_up import ATTACK, CONSTANT, made_up, summary_of

from gradlens.stats.separation import auc, auc_gain, logistic_gain
from gradlens.stats.tails import gini, top_share


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
    low, high = (scalars[f"l1_median_vulnerable_correct_{end}{ATTACK}"] for end in ("low", "high"))
    assert low < scalars[f"l1_median_vulnerable_correct{ATTACK}"] < high


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
