"""A run's summary has timm's columns, and accuracy among the data's own classes where they are few."""

import numpy as np
import pytest
import torch
from measured import classifier

from gradlens import analyze, load_data


def test_the_summary_has_timms_results_columns(baseline):
    names = ("model", "img_size", "top1", "top5", "param_count", "crop_pct", "interpolation")
    assert [n for n in names if n not in baseline.summary] == []
    assert baseline.summary["param_count"] == round(sum(p.numel() for p in classifier().parameters()) / 1e6, 4)
    assert baseline.summary["images"] == 60


def test_a_variant_is_scored_among_its_own_classes(monkeypatch):
    data = load_data("digits", limit=60)
    model = classifier()
    valid = tuple(sorted(set(data.labels.tolist()) - {7}))
    data = data.subset(data.indices[data.labels != 7].tolist())
    monkeypatch.setattr(type(data.source), "valid_classes", valid, raising=False)
    run = analyze(model, data, ["sample_asymmetry"], progress=False)
    logits = model(data.batch(data.indices).image)
    logits[:, 7] = -torch.inf
    expected = (logits.argmax(1).numpy() == data.labels).tolist()
    assert run.samples["correct_valid"].tolist() == expected
    assert run.summary["top1_valid"] == pytest.approx(100 * np.mean(expected))
