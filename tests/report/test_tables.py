"""The page's tables: which columns of the images, as which text, and why runs are not compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
from report_runs import CLASSES, made_run

from gradlens import Run
from gradlens.report._tables import MOST_ROWS, compared, images, reasons
from gradlens.runs.readings import readings


def column(table, name):
    place = [head[0] for head in table.columns].index(name)
    return [row[place] for row in table.rows]


def test_the_columns_are_those_that_are_read_first():
    run = made_run("net")
    table = images(run)
    first = ["path", "index", "label", "prediction", "correct", "confidence", "loss", "l1", "edge_partial_contour"]
    assert [name for name, _, _ in table.columns] == [*first, "share_r"]
    meaning = {name: said for name, said, _ in table.columns}
    assert meaning["share_r"] == "1/3 when even, per unit pixel"
    assert meaning["loss"] == "cross-entropy, nats"


def test_an_attacks_column_is_named_by_its_share():
    run = made_run("net")
    name = "robust[pgd10,linf,4/255]"
    run.provenance["readings"] = [["robust (%)", "robust_accuracy[pgd10,linf,4/255]", "at most"]]
    assert (name, "at most", True) in images(run).columns


def test_cells_are_the_runs_numbers_and_names():
    run = made_run("net", images=1500)
    table = images(run)
    samples = run.samples.head(MOST_ROWS)
    assert (len(table.rows), table.total) == (MOST_ROWS, 1500)
    shown = [float(text.replace("−", "-").replace("–", "nan")) for text in column(table, "edge_partial_contour")]
    assert np.isnan(shown).any()
    np.testing.assert_allclose(shown, samples["edge_partial_contour"], rtol=1e-3)
    assert column(table, "correct") == ["yes" if correct else "no" for correct in samples["correct"]]
    assert column(table, "label") == [CLASSES[label] for label in samples["label"]]
    assert column(table, "index")[:3] == ["0", "1", "2"]


def test_bare_runs_show_what_they_have_and_dashes():
    samples = pd.DataFrame({"index": [0, 1], "path": ["a", "b"], "label": [3, 4], "loss": [np.nan, -np.inf]})
    table = images(Run(samples, {"model": "bare"}))
    assert [name for name, _, _ in table.columns] == ["path", "index", "label", "loss"]
    assert table.rows == [("a", "0", "3", "–"), ("b", "1", "4", "–")]
    partly = Run(samples, {"model": "bare"}, provenance={"model": {"class_names": ["x"] * 4}})
    assert column(images(partly), "label") == ["x", "–"]


def test_a_reason_is_said_once_with_the_runs_it_holds_for():
    one, two = made_run("one"), made_run("two")
    (row,) = [row for row in readings([one, two]) if row.key == "l1_mean_wrong"]
    assert reasons(row, [one, two]) == ["no image is wrong"]
    two.provenance["missing"] = {"l1_mean_wrong": "too few"}
    (row,) = [row for row in readings([one, two]) if row.key == "l1_mean_wrong"]
    assert reasons(row, [one, two]) == ["no image is wrong (one)", "too few (two)"]


def test_runs_of_other_data_are_not_compared():
    one, other = made_run("one"), made_run("other", images=150)
    assert compared({"one": [one]}) == ""
    assert "cannot be compared: images 200 against 150" in compared({"one": [one], "other": [other]})
