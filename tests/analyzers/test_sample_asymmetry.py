"""A gradient's size is its norms, and its spread is split into that of the loss and of the rest."""

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from made_up import ATTACK, CONSTANT, made_up, summary_of
from planted import frame, planted

from gradlens.analyzers._robustness import Robustness
from gradlens.analyzers._sample_asymmetry import SampleAsymmetry
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.tails import gini


def test_norms_are_those_of_the_gradient(cnn, batch):
    probe = Probe(cnn, batch)
    columns, flat = SampleAsymmetry().measure(probe), probe.gradient().double().flatten(1)
    for name, expected in (("l1", flat.abs().sum(1)), ("l2", flat.norm(dim=1)), ("linf", flat.abs().amax(1))):
        torch.testing.assert_close(columns[name], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(columns["l1_logit"], columns["l1"] / probe.error_mass)


def test_l1_is_the_first_order_gain_of_an_attack(cnn, batch):
    batch = Batch(batch.image.double(), batch.target, batch.index)
    probe, eps = Probe(cnn.double(), batch), 1e-7
    gain = probe.at(batch.image + eps * probe.gradient().sign()).loss - probe.loss
    torch.testing.assert_close(gain / eps, SampleAsymmetry().measure(probe)["l1"], rtol=1e-4, atol=1e-6)


def test_other_objectives_have_no_error_mass_to_take_out(cnn, batch):
    columns = SampleAsymmetry("true_logit").measure(Probe(cnn, batch))
    assert list(columns) == ["l1", "l2", "linf", "gradient_flag"]
    expected = Probe(cnn, batch).gradient("true_logit").double().abs().sum((1, 2, 3))
    torch.testing.assert_close(columns["l1"], expected, rtol=1e-6, atol=0)


def test_unsound_gradients_are_flagged_and_counted(few):
    batch, gradient, offset = few[slice(0, 4)], torch.randn(4, 3, 64, 64) * 1e-3, torch.zeros(4)
    gradient[1], offset[2], gradient[3, 0, 5, 5] = 0, 1000, torch.nan
    probe = planted(batch, gradient, offset)
    columns = SampleAsymmetry().measure(probe)
    assert columns["gradient_flag"].tolist() == [0, 1, 2, 3]
    scalars = SampleAsymmetry().summarize(frame(probe, columns), {}).scalars
    counts = {name: scalars[f"gradients_{name}"] for name in ("zero", "underflow", "not_finite")}
    assert counts == {"zero": 1, "underflow": 1, "not_finite": 1}
    assert scalars["l1_median"] == pytest.approx(0)


def test_sizes_are_summed_up_over_images(rng):
    samples = pd.DataFrame(
        {
            "l1": rng.lognormal(size=200),
            "l1_logit": rng.lognormal(size=200),
            "loss": rng.random(200),
            "correct": rng.random(200) < 0.7,
            "gradient_flag": 0,
        }
    )
    scalars = SampleAsymmetry().summarize(samples, {}).scalars
    assert scalars["l1_gini"] == pytest.approx(reference.gini(samples["l1"]))
    assert scalars["l1_mean_wrong"] == pytest.approx(samples.loc[~samples["correct"], "l1"].mean())
    assert scalars["l1_median"] == samples["l1"].median()
    wrong = ~samples["correct"]
    assert scalars["l1_auc_wrong"] == pytest.approx(reference.roc_auc_score(wrong, samples["l1"]))
    assert scalars["loss_auc_wrong"] == pytest.approx(reference.roc_auc_score(wrong, samples["loss"]))


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


def test_table_shows_numbers_that_are_there(rng):
    scalars = summary_of(made_up(rng)).scalars
    keys = [reading.key for reading in SampleAsymmetry().readings]
    assert set(keys) <= set(scalars)
    assert len(keys) <= 12
    assert [r.key for r in Robustness().readings[1:]] == [
        f"{name}_vulnerable{ATTACK}" for name in ("l1_auc", "loss_auc", "l1_auc_gain")
    ]
    assert {r.key for r in Robustness().readings[1:]} <= set(scalars)


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
