"""Runs side by side: what is chosen, declared and corrected for, and how it is printed."""

import csv

import numpy as np
import pytest
from comparable import fake, row
from refusals import refused

import gradlens as gl
from gradlens import compare
from gradlens.models._zoo import digits_cnn


def test_accuracy_is_compared_and_identities_and_flags_are_not():
    a, b = fake("a"), fake("b")
    table = compare([a, b])
    assert row(table, "correct")["difference"] == pytest.approx(
        b.samples["correct"].mean() - a.samples["correct"].mean()
    )
    assert set(table.frame["column"]) == {"correct", "l1", "edge"}


def test_declared_columns_come_first_and_only_they_are_under_holm():
    a, b = fake("a", primary=["l1", "edge"]), fake("b", shift=0.2)
    frame = compare([a, b]).frame
    assert frame["role"].tolist() == ["primary", "primary", "exploratory"]
    p = frame["p"][:2].to_numpy()
    assert frame["p_adjusted"][:2].to_numpy() == pytest.approx(
        np.minimum(1, np.sort(p) * [2, 1])[np.argsort(np.argsort(p))]
    )
    own = compare([a, b], primary=["correct"]).frame
    assert own.loc[0, "column"] == "correct"
    assert own.loc[0, "p_adjusted"] == own.loc[0, "p"]
    assert (own["role"] == "primary").sum() == 1


def test_exploratory_columns_are_corrected_for_each_other_only():
    runs = [fake("a"), fake("b", shift=0.05)]
    adjusted = [compare(runs, columns=c).frame.set_index("column")["p_adjusted"] for c in (None, ["correct", "edge"])]
    assert adjusted[0][["correct", "edge"]].tolist() == adjusted[1].tolist()
    together = compare(runs, primary=["correct"]).frame.set_index("column")["p_adjusted"]
    assert together["edge"] != adjusted[0]["edge"]


def test_at_most_five_are_primary():
    extra = {f"m{k}": np.random.default_rng(k).normal(size=40) for k in range(6)}
    a, b = (fake(label, columns={k: v * (1 + (label == "b")) for k, v in extra.items()}) for label in "ab")
    with refused("6 primary columns", "at most 5"):
        compare([a, b], primary=list(extra))
    a.provenance["primary"] = list(extra)
    table = compare([a, b])
    assert (table.frame["role"] == "primary").sum() == 5
    assert "7 columns are declared" in " ".join(table.notes)


def test_a_condition_holds_in_every_run():
    a, b = fake("a"), fake("b")
    both = a.samples["correct"] & b.samples["correct"]
    table = compare([a, b], where="correct")
    assert row(table, "l1")["n"] == both.sum() < 30
    assert row(table, "l1")["mean_other"] == pytest.approx(b.samples["l1"][both].mean())
    assert "where correct" in table.title
    assert any("dropped" in note for note in table.notes)
    with refused("a and b", "l1 > 1e9"):
        compare([a, b], where="l1 > 1e9")


def test_runs_must_be_two_with_names_of_their_own():
    a, b = fake("a"), fake("b")
    with refused("1 runs", "two"):
        compare([a])
    with refused("two runs are called a", "before"):
        compare([a, fake("a", 1)])
    with refused("group x holds no run"):
        compare({"x": [], "y": [b]})
    with refused("str runs/a is not a run", "Run.load"):
        compare(["runs/a", "runs/b"])
    with refused("list", "is not a run"):
        compare([[a], [b]])
    with refused("'l2'", "l1"):
        compare([a, b], columns=["l2"])
    with refused("reference 'c'"):
        compare([a, b], reference="c")
    assert row(compare({"before": a, "after": fake("a", 1)}), "l1")["other"] == "after"


def test_columns_and_reference_are_chosen():
    table = compare([fake("a"), fake("b"), fake("c")], columns=["edge"], reference="b")
    assert table.frame["column"].tolist() == ["edge", "edge"]
    assert table.frame["other"].tolist() == ["a", "c"]
    swapped = compare([fake("b"), fake("a")], columns=["edge"])
    assert row(table, "edge", "a")["difference"] == row(swapped, "edge")["difference"]
    with refused("unknown column"):
        compare([fake("a"), fake("b")], columns=["path"])


def test_holm_counts_every_declared_test_of_several_comparisons():
    frame = compare([fake("a"), fake("b", shift=0.1), fake("c", shift=0.15)], columns=["l1"]).frame
    p = np.sort(frame["p"])
    assert np.sort(frame["p_adjusted"]) == pytest.approx([2 * p[0], max(p[1], 2 * p[0])])
    assert frame["role"].eq("primary").all()


def test_the_smallest_effect_of_interest_decides_what_a_difference_is_worth():
    a = fake("a")
    b = fake("b", shift=0.5)
    low, high = row(compare([a, b]), "l1")[["low", "high"]]
    for bound, verdict in ((high * 1.01, "equivalent"), (low * 0.99, "beyond"), ((low + high) / 2, "undecided")):
        table = compare([a, b], smallest={"l1": bound})
        assert row(table, "l1")["verdict"] == verdict
        assert row(table, "edge")["verdict"] == ""
        assert verdict in repr(table)
    assert row(compare([b, a], smallest={"l1": low * 0.99}), "l1")["verdict"] == "beyond"
    with refused("'l3'"):
        compare([a, b], smallest={"l3": 1})


def test_real_runs_are_compared(cnn):
    data = gl.load_data("digits").limit(24)
    other = gl.load_model(digits_cnn(width=8), mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")
    runs = [gl.analyze(model, data, ["sample_asymmetry"], progress=False, examples=0) for model in (cnn, other)]
    table = compare({"trained": runs[0], "random": runs[1]})
    assert row(table, "correct")["difference"] < -0.3
    assert row(table, "l1")["role"] == "primary"


def wide(**options):
    return compare([fake("resnet50-natural"), fake("resnet50-edge", shift=0.3)], smallest={"l1": 0.1}, **options)


def test_the_screen_fits_a_hundred_columns_and_puts_primary_first():
    text = repr(wide())
    assert max(map(len, text.splitlines())) <= 100
    assert text.index("primary") < text.index("l1") < text.index("exploratory") < text.index("correct")
    assert "nats per unit pixel" in text
    assert "one checkpoint each" in text
    assert "±" in text


@pytest.mark.parametrize("width", [50, 65])
def test_a_narrow_screen_loses_columns_and_says_so_but_breaks_no_number(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    table = wide()
    table.show()
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert "more column" in " ".join(text.split())
    printed = table.printed.iloc[:, 3].tolist()
    assert all(cell in text for cell in printed)


def test_markdown_is_a_table_with_sections_and_notes():
    lines = wide().to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert rows[1].startswith("| :-- | --:")
    assert "`l1`" in rows[3]
    assert "**primary" in rows[2]
    assert any(line.startswith("- ±:") for line in lines)


def test_latex_is_booktabs_in_plain_ascii():
    a, b = (
        fake("a_1", columns={"edge_z[sigma=2]": np.arange(40.0)}),
        fake("b%", columns={"edge_z[sigma=2]": np.ones(40)}),
    )
    text = compare([a, b]).to_latex()
    assert text.isascii()
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\caption", "\\footnotesize"))
    assert "edge\\_z[sigma=2]" in text
    assert "b\\%" in text
    body = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line and " & " in line]
    assert {line.replace("\\&", "").count("&") for line in body} == {6}
    # A bracket that opens a row would be read as the optional argument of the row before.
    assert not any(line.startswith("[") for line in body)
    for opened, closed in ("{}", ("\\begin", "\\end")):
        assert text.count(opened) == text.count(closed)


def test_csv_holds_every_number_in_full(tmp_path):
    table = wide()
    table.to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["low"]) == table.frame.loc[0, "low"]
    assert {"column", "role", "difference", "high", "p_adjusted", "missing"} <= rows[0].keys()


def test_what_stands_beside_a_measure_is_compared_when_asked_for():
    a, b = fake("a"), fake("b")
    for run in (a, b):
        run.samples["l1_null"] = run.samples["l1"] / 2
    assert "l1_null" not in set(compare([a, b]).frame["column"])
    assert set(compare([a, b], columns=["l1_null"]).frame["column"]) == {"l1_null"}
