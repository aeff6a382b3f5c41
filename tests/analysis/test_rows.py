"""A row has the columns of the contract, as torch computes them, and those of further analyzers."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from measured import classifier, measure
from refusals import refused

from gradlens import load_data
from gradlens.analysis.rows import columns_of
from gradlens.analyzers import Inline
from gradlens.analyzers._edge_concentration import MEASURES
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe

CORE = ["index", "path", "label", "prediction", "correct", "confidence", "error_mass", "loss", "margin"]
SIZE = ["l1", "l2", "linf", "l1_logit"]
CHANNELS = ["share_r", "share_g", "share_b", "luminance_coherence"]
EDGES = [f"{m}{tail}" for m in MEASURES for tail in ("", "_null", "_z")]


def test_a_run_has_the_columns_of_the_contract(baseline):
    assert [c for c in CORE + SIZE + CHANNELS + EDGES if c not in baseline.samples] == []
    assert [c for c in baseline.samples if "@" in c or "[" in c] == []
    assert len(baseline.samples) == 60
    assert baseline.samples["index"].tolist() == load_data("digits", limit=60).indices.tolist()
    assert baseline.samples["path"][0] == load_data("digits").path(baseline.samples["index"][0])
    kinds = {c: str(baseline.samples[c].dtype) for c in ("index", "label", "prediction", "correct", "l1")}
    assert kinds == {"index": "int64", "label": "int64", "prediction": "int64", "correct": "bool", "l1": "float64"}


def test_the_columns_are_what_torch_computes_of_the_unfolded_network(baseline):
    model = classifier()
    batch = load_data("digits").batch(baseline.samples["index"].tolist())
    image = batch.image.requires_grad_()
    logits = model(image)
    loss = F.cross_entropy(logits, batch.target, reduction="none")
    gradient = torch.autograd.grad(loss.sum(), image)[0].double()
    logits, p = logits.detach(), logits.detach().double().softmax(1)
    norms = gradient.flatten(1)
    expected = {
        "label": batch.target,
        "prediction": logits.argmax(1),
        "correct": logits.argmax(1) == batch.target,
        "confidence": p.amax(1),
        "error_mass": 1 - p.gather(1, batch.target[:, None])[:, 0],
        "loss": loss.detach().double(),
        "l1": norms.abs().sum(1),
        "l2": norms.norm(dim=1),
        "linf": norms.abs().amax(1),
        "share_g": gradient[:, 1].abs().sum((1, 2)) / norms.abs().sum(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(baseline.samples[name], values.numpy(), rtol=1e-5, err_msg=name)
    assert 0 < baseline.samples["correct"].sum() < 60
    assert baseline.summary["top1"] == pytest.approx(100 * float((logits.argmax(1) == batch.target).float().mean()))
    top5 = logits.topk(5).indices.eq(batch.target[:, None]).any(1).double().mean()
    assert baseline.summary["top5"] == pytest.approx(100 * float(top5))


def test_a_function_of_a_probe_adds_a_column():
    run = measure(analyzers=["sample_asymmetry", lambda p: {"mean_pixel": p.batch.image.mean((1, 2, 3))}])
    data = load_data("digits")
    expected = [float(data[i][0].mean()) for i in run.samples["index"]]
    np.testing.assert_allclose(run.samples["mean_pixel"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("analyzers", "words"),
    [
        ([lambda p: {"x": p.logits.detach()}], ["'x'", "(16, 10)", "one number an image"]),
        ([lambda p: {"loss": p.loss}], ["'loss'", "rename"]),
        (["sample_asymmetry", lambda p: {"l1": p.loss}], ["'l1'", "rename"]),
        (["sample_asymetry"], ["'sample_asymetry'", "sample_asymmetry"]),
        (["sample_asymmetry", "sample_asymmetry"], ["twice"]),
        ([3], ["3 is not an analyzer"]),
    ],
    ids=["shape", "core column", "column", "name", "twice", "type"],
)
def test_analyzers_that_cannot_be_used_are_refused(analyzers, words):
    with refused(*words):
        measure(analyzers=analyzers)


def test_further_objectives_add_columns_beside_the_losses(baseline):
    both = measure(analyzers="standard", objective=("loss", "true_logit"))
    alone = measure(analyzers="standard", objective="true_logit")
    added = [c for c in both.samples if c.endswith("@true_logit")]
    assert {"l1@true_logit", "share_r@true_logit", "edge_auc_canny_z@true_logit"} <= set(added)
    assert "l1" not in alone.samples
    pd.testing.assert_frame_equal(both.samples[added], alone.samples[added], check_exact=True)
    pd.testing.assert_frame_equal(both.samples.drop(columns=added), baseline.samples, check_exact=True)
    assert both.summary["l1_mean@true_logit"] == alone.summary["l1_mean@true_logit"] != both.summary["l1_mean"]
    np.testing.assert_allclose(both.samples["l1@true_logit"].mean(), both.summary["l1_mean@true_logit"])


@pytest.mark.parametrize("column", [lambda p: p.loss.mean(), lambda p: p.gradient(), lambda p: p.loss[:3]])
def test_function_must_give_one_number_an_image(column, cnn, batch):
    with pytest.raises(UserError, match=r"column 'x' has shape .*; wanted one number an image"):
        columns_of(Inline(lambda p: {"x": column(p)}), Probe(cnn, batch))


def test_an_inline_analyzer_returns_columns_by_name(cnn, digits):
    with pytest.raises(UserError, match="returned a Tensor"):
        columns_of(Inline(lambda probe: probe.loss), Probe(cnn, digits[slice(0, 4)]))
