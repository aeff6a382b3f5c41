"""A run's rows can be selected and ranked, and its hash tells what was measured."""

import pandas as pd
import pytest
from measured import MEAN, STD, classifier, measure
from refusals import refused


def test_a_runs_hash_tells_apart_what_the_same_weights_were_measured_as():
    runs = [measure(classifier(activation=a, mean=m)) for a, m in (("gelu", MEAN), ("relu", MEAN), ("gelu", STD))]
    assert len({r.provenance["weights"] for r in runs}) == 1
    assert len({r.hash for r in runs}) == 3


def test_top_gives_the_largest_first(baseline):
    largest = sorted(baseline.samples["l1"], reverse=True)
    assert baseline.top("l1", 5).samples["l1"].tolist() == largest[:5]
    wrong = baseline.top("l1", 100, where="not correct and l1 > 0").samples
    assert wrong["l1"].tolist() == sorted(baseline.samples["l1"][~baseline.samples["correct"]], reverse=True)
    assert len(baseline.samples) == 60


def test_select_keeps_the_rows_for_which_an_expression_holds(baseline):
    chosen = baseline.select("label == 3 or index < 20").samples
    expected = baseline.samples[(baseline.samples["label"] == 3) | (baseline.samples["index"] < 20)]
    pd.testing.assert_frame_equal(chosen, expected)
    assert 0 < len(chosen) < 60
    assert baseline.select(None) is baseline


@pytest.mark.parametrize("where", ["l1 >", "nope > 3", "l1 + 1", "l1.sum()", "import os", "x = 3", "@x"])
def test_an_expression_that_selects_nothing_sensible_is_refused(baseline, where):
    with refused(f"'{where}'", "columns index, path"):
        baseline.select(where)


def test_a_column_that_cannot_be_ranked_is_refused(baseline):
    with refused("'l1_logitt'", "l1_logit"):
        baseline.top("l1_logitt")
    with refused("'path' holds text"):
        baseline.top("path")
