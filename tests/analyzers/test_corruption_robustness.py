"""Images are corrupted as gl.corrupt does it, each by itself, and errors are averaged as published."""

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

import gradlens as gl
from gradlens.analyzers._base import NO_INTERVAL
from gradlens.analyzers._corruption_robustness import COMMON, CorruptionRobustness
from gradlens.core.registry import analyzer, corruption
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

FEW = "corruption_robustness:corruptions=fog+gaussian_noise,severities=1+4"
COLUMNS = ["correct[fog,1]", "correct[fog,4]", "correct[gaussian_noise,1]", "correct[gaussian_noise,4]"]


def test_the_usual_ones_are_those_that_there_are_at_every_severity():
    assert set(COMMON) <= set(corruption)
    assert len(COMMON) == 15
    assert CorruptionRobustness()._levels == [1, 2, 3, 4, 5]


def test_an_image_is_correct_where_its_corrupted_form_is(cnn, digits):
    found = analyzer.build(FEW).measure(Probe(cnn, digits, seed=2))
    assert list(found) == COLUMNS
    for name, severity in (("fog", 4), ("gaussian_noise", 1)):
        changed = gl.corrupt(digits.image, name, severity, seed=2, index=digits.index.tolist())
        right = Probe(cnn, Batch(changed, digits.target, digits.index)).correct
        assert torch.equal(found[f"correct[{name},{severity}]"] == 1, right)
    assert found["correct[fog,4]"].mean() < Probe(cnn, digits).correct.double().mean()


def test_an_image_does_not_depend_on_the_others(cnn, digits):
    whole, some = (analyzer.build(FEW).measure(Probe(cnn, part)) for part in (digits, digits[slice(5, 9)]))
    assert all(torch.equal(whole[name][5:9], some[name]) for name in COLUMNS)


def test_errors_are_means_over_severities_and_then_over_corruptions(rng):
    samples = pd.DataFrame((rng.random((50, 4)) < [0.9, 0.5, 0.8, 0.1]).astype(float), columns=COLUMNS)
    samples["correct"] = rng.random(50) < 0.95
    scalars, arrays, missing = analyzer.build(FEW).summarize(samples, {})
    of = "[fog+gaussian_noise,1+4]"
    error = [np.mean([100 - 100 * samples[c].mean() for c in pair]) for pair in (COLUMNS[:2], COLUMNS[2:])]
    assert scalars[f"corruption_error{of}"] == pytest.approx(np.mean(error))
    clean = 100 - 100 * samples["correct"].mean()
    assert scalars[f"corruption_error_less_clean{of}"] == pytest.approx(np.mean(error) - clean)
    assert scalars[f"corruption_error_low{of}"] < np.mean(error) < scalars[f"corruption_error_high{of}"]
    wanted = 100 * samples[COLUMNS].mean().to_numpy().reshape(2, 2)
    np.testing.assert_allclose(arrays["accuracy"], wanted)
    # Two in fifty are wrong unattacked, which rule the mean of what is added.
    assert set(missing) == {f"corruption_error_less_clean_{end}{of}" for end in ("low", "high")}
    assert set(missing.values()) == {NO_INTERVAL}


def test_without_labels_it_is_missing_with_the_reason(cnn, batch):
    chosen = analyzer.build(FEW)
    found = chosen.measure(Probe(cnn, Batch(batch.image, None, batch.index)))
    assert all(values.isnan().all() for values in found.values())
    summary = chosen.summarize(pd.DataFrame(found), {})
    assert set(summary.missing) == set(summary.scalars)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("corruptions=fog+fgo", "unknown corruption 'fgo'"),
        ("severities=1+6", "severity '6' is none; give 1 to 5"),
        ("severities=0", "severity '0' is none"),
        ("severities=1,2", "has no value"),
    ],
)
def test_what_is_no_corruption_or_severity_is_one_line(spec, said):
    with refused(said):
        analyzer.build(f"corruption_robustness:{spec}")


def test_an_image_without_a_label_is_missing_and_no_other(cnn, digits):
    target = digits.target.clone()
    target[3] = -1
    found = analyzer.build(FEW).measure(Probe(cnn, Batch(digits.image, target, digits.index)))
    for values in found.values():
        assert values.isnan().nonzero().ravel().tolist() == [3]
