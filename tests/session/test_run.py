"""From a row to the image, its probe, an edit and back to a row; and the run in other forms."""

import copy

import numpy as np
import pandas as pd
import pytest
from drawn import shown, titles
from gradients import relative_error
from matplotlib.figure import Figure
from refusals import refused

import gradlens as gl
from gradlens.runs.readings import table_of

QUIET = {"progress": False, "limit": 60, "batch_size": 16}


def row_of(run, look):
    rows = run.samples[run.samples["index"] == int(look.batch.index)]
    return rows.drop(columns="path").reset_index(drop=True)


# --- from a row to the image


def test_the_largest_are_shown_with_their_gradients_and_numbers(run, plain):
    top = run.top("l1", 6, where="index >= 0")
    drawn = top.show()
    assert isinstance(drawn, Figure)
    pairs = list(zip(drawn.axes[:6], drawn.axes[6:], strict=True))
    for (above, below), (_, row) in zip(pairs, top.samples.iterrows(), strict=True):
        batch = gl.load_data("digits").batch([row["index"]])
        np.testing.assert_allclose(shown(above), batch.image[0].permute(1, 2, 0), atol=1e-3)
        gradient = gl.input_gradient(plain, batch.image, batch.target)[0].permute(1, 2, 0).double().numpy()
        limit = np.quantile(np.abs(gradient), 0.99)
        np.testing.assert_allclose(shown(below), np.clip(0.5 + 0.5 * gradient / limit, 0, 1), atol=2e-3)
        wrong = "" if row["label"] == row["prediction"] else f" → {row['prediction']}"
        assert above.get_title() == f"{row['label']}{wrong}"
        assert below.get_title() == f"l1 {row['l1']:.4g}"
        assert [t.get_text() for t in above.texts] == [str(row["index"])]


def test_kept_images_are_shown_without_the_model(folder, monkeypatch):
    loaded = gl.Run.load(folder)
    kept = loaded.select(f"index in {loaded.examples['index'].tolist()}")
    assert len(titles(kept.show())) == 8
    with refused("model was given as an object", "run.model"):
        loaded.show(60)
    with refused("unknown column 'l11'", "l1"):
        loaded.show(column="l11")
    with refused("no image", "another condition"):
        loaded.select("l1 < 0").show()


def test_a_run_shows_the_column_it_was_ranked_by(run):
    assert titles(run.top("loss", 2).show())[2:] == [f"loss {v:.4g}" for v in run.top("loss", 2).samples["loss"]]
    assert titles(run.top("loss", 1).show(column="margin"))[1].startswith("margin ")
    assert len(titles(run.show(11))) == 22


def test_several_images_are_probed_at_once(run):
    indices = run.samples["index"][[7, 3]].tolist()
    together = run.probe(indices)
    assert together.batch.index.tolist() == indices
    assert relative_error(together.gradient()[1:], run.probe(indices[1]).gradient()).max() < 1e-5
    assert isinstance(run.probe(np.int64(indices[0])), gl.Probe)


def test_an_image_that_changed_since_is_not_taken_for_the_one_measured(run):
    moved = copy.copy(run)
    moved.samples = run.samples.assign(path=run.samples["path"].to_numpy()[::-1])
    with refused("the data changed", "run.data"):
        moved.probe(int(run.samples["index"][5]))


# --- an edit, and back to a row


def test_an_unedited_probe_has_the_runs_row_bit_by_bit(run, look):
    pd.testing.assert_frame_equal(run.measure(look), row_of(run, look), check_exact=True)


def test_a_reloaded_run_gives_the_same_row(run, folder, plain, look):
    loaded = gl.Run.load(folder)
    loaded.model = plain
    again = loaded.measure(loaded.probe(int(look.batch.index)))
    pd.testing.assert_frame_equal(again, row_of(run, look), check_exact=True)


def test_the_row_of_a_folded_network_is_the_runs_up_to_rounding(cnn):
    run = gl.analyze(cnn, "digits", **QUIET)
    index = run.samples["index"][:20].tolist()
    found = run.measure(run.probe(index))
    expected = run.samples[:20].drop(columns="path")
    assert list(found) == list(expected)
    for name in ("l1", "loss", "l1_logit", "share_g", "luminance_coherence", "edge_corr_contour"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    # Ranks in bins, of which rounding moves a pixel at a time.
    np.testing.assert_allclose(found["edge_auc_canny"], expected["edge_auc_canny"], atol=2e-4)


def test_an_edit_is_measured_as_the_edited_image_would_be(run, plain, look):
    pixels = look.batch.image.clone()
    pixels[:, :, :16] = 0.3
    edited = run.measure(look.at(pixels))
    alone = gl.analyze(plain, (pixels, look.batch.target), ["sample_asymmetry"], progress=False).samples
    for name in ("l1", "l2", "linf", "l1_logit", "loss", "margin", "prediction", "label"):
        assert edited[name][0] == alone[name][0], name
    assert edited["l1"][0] != row_of(run, look)["l1"][0]
    assert np.isfinite(edited["edge_partial_contour_null"][0])


def test_measure_needs_no_run(run, look):
    alone, with_pilot = gl.measure(look), gl.measure(look, pilot=run.data)
    expected = row_of(run, look)
    # Pilot images seen together or one by one differ in the last digit.
    pd.testing.assert_frame_equal(with_pilot[list(expected)], expected, rtol=1e-5)
    nulls = [c for c in alone if c.endswith(("_null", "_z", "_p"))]
    assert len(nulls) > 20
    assert alone[nulls].isna().all(axis=None)
    own = [c for c in MEASURES_ALONE if c in alone]
    pd.testing.assert_frame_equal(alone[own], expected[own], check_exact=True)
    inline = gl.measure(look, [lambda p: {"twice": 2 * p.loss}])
    assert inline["twice"][0] == 2 * expected["loss"][0]


MEASURES_ALONE = ("index", "correct", "loss", "l1", "share_r", "luminance_coherence", "edge_auc_canny")


def test_an_image_without_a_label_has_a_row(plain, digits):
    row = gl.measure(gl.probe(plain, digits.image[:2]), ["sample_asymmetry"])
    assert "correct" not in row
    assert row["label"].tolist() == [-1, -1]


def test_parameters_objectives_and_inline_columns_of_a_run_come_back(plain):
    chosen = ["sample_asymmetry", "edge_concentration:sigma=2", "robustness:eps=8/255,steps=2"]
    chosen = [*chosen, lambda probe: {"own": probe.loss}]
    run = gl.analyze(plain, "digits", chosen, objective=["loss", "true_logit"], progress=False, limit=20, batch_size=1)
    probe = run.probe(int(run.samples["index"][3]))
    found, expected = run.measure(probe), row_of(run, probe)
    assert found["own"].isna().all()
    assert {"l1@true_logit", "edge_auc_canny@true_logit[sigma=2]"} <= set(found)
    pd.testing.assert_frame_equal(found.drop(columns="own"), expected.drop(columns="own"), check_exact=True)


def test_a_row_is_refused_where_the_pilot_images_are_unknown(run, look):
    other = copy.copy(run)
    other.data, other.cache = gl.load_data("digits", limit=50), {}
    with refused("60 images", "run.data"):
        other.measure(look)


# --- other forms


def test_the_table_holds_the_summarys_numbers_with_their_intervals(run):
    table = run.table()
    row = table.frame.set_index("key").loc["l1_mean"]
    assert row["value"] == run.summary["l1_mean"]
    assert (row["low"], row["high"]) == (run.summary["l1_mean_low"], run.summary["l1_mean_high"])
    assert table.frame["key"][0] == "top1"
    assert {key for _, key, _ in run.readings if run.summary.get(key) is not None} <= set(table.frame["key"])
    half = (row["high"] - row["low"]) / 2
    cell = table.printed.set_index("measure")["value"]["L1 norm, mean"]
    value, error = map(float, cell.split(" ± "))
    assert error == pytest.approx(half, rel=0.06)
    assert value == pytest.approx(row["value"], abs=half / 10)
    assert "how to read it" in repr(table)
    short = table_of(run, details=False).frame["measure"]
    assert not short.str.startswith(" ").any()


def test_the_table_is_latex(run):
    text = run.to_latex()
    assert "\\begin{tabular}{lr}" in text
    assert "\\quad{}median & " in text
    assert "$\\pm$" in text
    assert all(ord(c) < 128 for c in text), {c for c in text if ord(c) > 127}
