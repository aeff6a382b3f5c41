"""What is paired, over images or over seeds; what is refused; what is missing and why."""

import numpy as np
import pandas as pd
import pytest
from comparable import fake, row, seeds
from refusals import refused
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gradlens import compare
from gradlens.stats.inference import hedges_g


def test_two_runs_are_paired_image_by_image():
    a, b = fake("a"), fake("b", shift=0.5)
    found = row(compare([a, b]), "l1")
    x, y = a.samples["l1"], b.samples["l1"]
    wanted = stats.ttest_rel(y, x)
    assert (found["mean_reference"], found["mean_other"]) == pytest.approx((x.mean(), y.mean()))
    assert found["difference"] == pytest.approx((y - x).mean())
    assert (found["low"], found["high"]) == pytest.approx(tuple(wanted.confidence_interval(0.95)))
    assert found["p"] == pytest.approx(wanted.pvalue)
    assert found["effect"] == pytest.approx((y - x).mean() / (y - x).std())
    assert found["superiority"] == pytest.approx((y > x).mean())
    assert found["n"] == 40


def test_pairing_does_not_depend_on_the_order_of_images():
    a, b = fake("a"), fake("b", shift=0.5)
    straight = compare([a, b]).frame
    b.samples = b.samples.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(compare([a, b]).frame, straight)


def test_images_that_one_run_lacks_are_dropped_and_counted():
    a, b = fake("a"), fake("b")
    b.samples = b.samples[3:]
    a.samples = a.samples[:-2]
    table = compare([a, b])
    assert row(table, "l1")["n"] == 35
    assert any("5 images that some run lacks were dropped" in note for note in table.notes)


def test_a_missing_number_drops_its_image_from_its_column_only():
    a, b = fake("a"), fake("b")
    a.samples.loc[:4, "edge"] = np.nan
    b.samples.loc[3:6, "edge"] = np.inf
    frame = compare([a, b]).frame.set_index("column")
    assert frame.loc["edge", "n"] == 33
    assert frame.loc["l1", "n"] == 40
    assert frame.loc["edge", "mean_reference"] == pytest.approx(a.samples["edge"][7:].mean())
    assert np.isfinite(frame.loc["edge", "low"])


def test_what_cannot_be_compared_is_missing_with_its_reason():
    odd = {"constant": 1.0, "nothing": np.nan, "image": np.arange(40.0), "once": np.r_[1.0, np.full(39, np.nan)]}
    a, b = fake("a", columns=odd), fake("b", columns={**odd, "constant": 2.0})
    b.samples["shifted"], a.samples["shifted"] = b.samples["l1"], b.samples["l1"] - 1
    a.provenance["primary"] = ["l1", "vanished"]
    table = compare([a, b])
    frame = table.frame.set_index("column")
    assert table.missing == {
        "vanished": "not measured in a",
        "constant": "constant over images",
        "nothing": "not a number for any image of a",
        "image": "equal on every image",
        "once": "only one image has it in every run",
        "shifted": "the difference is the same on every image",
    }
    assert frame.loc[list(table.missing), ["low", "high", "p", "p_adjusted", "effect"]].isna().all(axis=None)
    assert frame.loc["constant", ["mean_reference", "mean_other", "difference"]].tolist() == [1, 2, 1]
    assert frame.loc["nothing", ["mean_reference", "difference", "superiority"]].isna().all()
    assert all(name in repr(table) for name in table.missing)


REFUSED = {
    "images": (50, "--limit"),
    "data_fingerprint": ("g", "images or labels differ"),
    "seed": (1, "--seed"),
    "precision": ("bfloat16", "--precision"),
    "analyzers": (["edge_concentration[sigma=2]"], "edge_concentration against edge_concentration[sigma=2]"),
}


@pytest.mark.parametrize("term", REFUSED)
def test_another_contract_is_refused_by_name(term):
    value, said = REFUSED[term]
    with refused("a and b", term.replace("analyzers", "analyzer").replace("_", " "), said):
        compare([fake("a"), fake("b", **{term: value})])
    with refused(said):
        compare({"x": seeds("a", 2), "y": [fake("b"), fake("b", 1, **{term: value})]})


def test_the_same_images_may_lie_in_a_folder_of_another_name():
    assert compare([fake("a"), fake("b", data="photos/val")])
    other = {"data": "photos/val", "data_fingerprint": "g"}
    with refused("a and b", "data digits/val against photos/val", "--data"):
        compare([fake("a"), fake("b", **other)])


def test_another_model_is_no_other_contract():
    b = fake("b", arch="vit", activation="relu", mean=[0, 0, 0], batch_size=7, analyzers=["sample_asymmetry", "new"])
    assert np.isfinite(row(compare([fake("a"), b]), "l1")["low"])


def test_another_null_bank_is_refused_unless_the_pixels_differ():
    a, b = fake("a", summary={"null_bank": "1"}), fake("b", summary={"null_bank": "2"})
    with refused("null bank 1 against 2"):
        compare([a, b])
    b.provenance |= {"preprocess_hash": "q", "preprocess": {"size": 64, "crop_pct": 0.9, "interpolation": "bilinear"}}
    assert any("not the same pixels" in n and "64 px, crop 0.9, bilinear (b)" in n for n in compare([a, b]).notes)


def test_another_version_is_said():
    a, b = fake("a", versions={"gradlens": "1"}), fake("b", versions={"gradlens": "2"})
    assert any("gradlens: 1, 2" in note for note in compare([a, b]).notes)


def test_runs_without_a_common_image_are_refused():
    a, b = fake("a"), fake("b")
    b.samples["path"] = "other/" + b.samples["path"]
    with refused("a and b share no image"):
        compare([a, b])
    a.samples["path"] = "one.png"
    with refused("run a names one.png twice"):
        compare([a, b])


def test_methods_are_compared_over_their_seeds():
    a, b = seeds("natural", 3), seeds("edge", 5, shift=0.4)
    table = compare({"natural": a, "edge": b})
    found = row(table, "l1")
    means = [[run.samples["l1"].mean() for run in group] for group in (a, b)]
    wanted = stats.ttest_ind(means[1], means[0], equal_var=False)
    assert (found["low"], found["high"]) == pytest.approx(tuple(wanted.confidence_interval(0.95)))
    assert found["p"] == pytest.approx(wanted.pvalue)
    assert (found["seeds_reference"], found["seeds_other"]) == (3, 5)
    assert found["effect"] == pytest.approx(hedges_g(*means))
    assert found["effect"] > 0
    assert found["crossed_low"] < found["difference"] < found["crossed_high"]
    assert found["superiority"] == np.mean([y > x for x in means[0] for y in means[1]])
    assert any("natural 3, edge 5" in note for note in table.notes)
    assert any("4.30" in note for note in table.notes)


def test_below_five_seeds_no_p_is_adjusted():
    few, enough = (compare({"natural": seeds("natural", n), "edge": seeds("edge", 5, 0.4)}).frame for n in (4, 5))
    assert few["p"].notna().all()
    assert few["p_adjusted"].isna().all()
    exploratory = enough[enough["role"] == "exploratory"]
    wanted = multipletests(exploratory["p"], method="holm")[1]
    assert exploratory["p_adjusted"].to_numpy() == pytest.approx(wanted)


def test_more_images_do_not_make_seeds():
    few, many = (compare({"a": seeds("a", 3, n=n), "b": seeds("b", 3, n=n)}) for n in (40, 4000))
    assert row(few, "l1")["p"] > 0.01
    assert row(many, "l1")["p"] > 0.01
    assert row(compare([fake("a", n=4000), fake("b", shift=0.05, n=4000)]), "l1")["p"] < 1e-4


def test_a_single_seed_has_means_and_a_reason():
    table = compare({"natural": [fake("natural")], "edge": seeds("edge", 3)})
    found = row(table, "l1")
    assert np.isfinite([found["mean_reference"], found["difference"]]).all()
    assert np.isnan([found["low"], found["p"], found["crossed_low"], found["effect"], found["p_adjusted"]]).all()
    assert "2 runs a group, and a claim 5 (t = 2.78" in table.missing["l1"]


def test_one_model_is_not_two_seeds():
    with refused("group edge holds the same weights twice"):
        compare({"natural": seeds("natural", 2), "edge": [fake("edge"), fake("edge")]})


def test_seeds_use_the_images_that_all_of_them_have():
    a, b = seeds("a", 2), seeds("b", 2)
    a[1].samples.loc[:9, "edge"] = np.nan
    b[0].samples = b[0].samples[:35]
    frame = compare({"a": a, "b": b}).frame.set_index("column")
    assert frame.loc["edge", "n"] == 25
    assert frame.loc["edge", "mean_other"] == pytest.approx(np.mean([r.samples["edge"][10:35].mean() for r in b]))
    b[1].samples["edge"] = np.nan
    table = compare({"a": a, "b": b})
    assert table.missing == {"edge": "not a number for any image of b"}


def test_seeds_that_agree_to_the_last_digit_have_no_interval():
    a, b = ([fake(g, k, columns={"depth": float(g == "b")}) for k in range(2)] for g in "ab")
    table = compare({"a": a, "b": b})
    assert table.missing == {"depth": "the same in every seed"}
    assert row(table, "depth")["difference"] == 1
