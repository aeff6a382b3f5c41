"""Runs side by side: what is paired, what is refused, what is missing and why, and how it is printed."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy import stats

import gradlens as gl
from gradlens import Run, Table, compare
from gradlens.cli.main import main
from gradlens.models._zoo import digits_cnn
from gradlens.stats.inference import hedges_g

CONTRACT = {
    "data": "digits/val",
    "images": 40,
    "data_fingerprint": "f",
    "seed": 0,
    "precision": "float32",
    "preprocess": {"size": 32, "crop_pct": 1.0, "interpolation": "bicubic"},
    "preprocess_hash": "p",
    "analyzers": ["sample_asymmetry", "edge_concentration"],
    "primary": ["l1"],
    "readings": [["L1 norm, mean", "l1_mean", "nats per unit pixel"]],
}


def fake(label="a", member=0, shift=0.0, n=40, summary=None, columns=None, **changed):
    """A run of n images with columns l1, edge and correct that share what is particular to each image."""
    easy = np.random.default_rng(99).normal(size=n)
    rng = np.random.default_rng(member + sum(map(ord, label)))
    samples = pd.DataFrame(
        {
            "index": np.arange(n),
            "path": [f"c{i % 4}/{i}.png" for i in range(n)],
            "label": np.arange(n) % 4,
            "prediction": rng.integers(4, size=n),
            "correct": rng.random(n) < 0.7,
            "l1": easy + rng.normal(shift, 0.3, n),
            "edge": 0.1 * rng.normal(size=n),
            "gradient_flag": np.zeros(n),
        }
    ).assign(**(columns or {}))
    provenance = {**CONTRACT, "weights": f"{label}-{member}", **changed}
    return Run(samples, {"model": label, "data": "digits/val", **(summary or {})}, provenance=provenance)


def seeds(label, count, shift=0.0, **options):
    return [fake(label, k, shift + 0.05 * np.sin(7 * k), **options) for k in range(count)]


def row(table, column, other=None):
    frame = table.frame[table.frame["column"] == column]
    return (frame if other is None else frame[frame["other"] == other]).iloc[0]


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
    "data": ("photos/val", "--data"),
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
    assert found["boot_low"] < found["difference"] < found["boot_high"]
    assert found["superiority"] == np.mean([y > x for x in means[0] for y in means[1]])
    assert any("natural 3, edge 5" in note for note in table.notes)
    assert any("4.30" in note for note in table.notes)
    assert any("below 0.018" in note for note in table.notes)


def test_more_images_do_not_make_seeds():
    few, many = (compare({"a": seeds("a", 3, n=n), "b": seeds("b", 3, n=n)}) for n in (40, 4000))
    assert row(few, "l1")["p"] > 0.01
    assert row(many, "l1")["p"] > 0.01
    assert row(compare([fake("a", n=4000), fake("b", shift=0.05, n=4000)]), "l1")["p"] < 1e-4


def test_a_single_seed_has_means_and_a_reason():
    table = compare({"natural": [fake("natural")], "edge": seeds("edge", 3)})
    found = row(table, "l1")
    assert np.isfinite([found["mean_reference"], found["difference"]]).all()
    assert np.isnan([found["low"], found["p"], found["boot_low"], found["effect"], found["p_adjusted"]]).all()
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


class Cells(HTMLParser):
    """The texts of a table's cells, and that every tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_a_notebook_shows_it_escaped():
    table = Table(pd.DataFrame({"name": ["<b>x"], "value": [1.5]}), "a < b", ("n > 1",))
    parser = Cells()
    parser.feed(table._repr_html_())
    assert parser.open == []
    assert parser.cells == ["<b>x", "1.5"]
    assert "a &lt; b" in table._repr_html_()


def test_markdown_is_a_table_with_sections_and_notes():
    lines = wide().to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert rows[1].startswith("| :-- | --:")
    assert "`l1`" in rows[3]
    assert "**primary" in rows[2]
    assert any(line.startswith("- ±:") for line in lines)
    piped = Table(pd.DataFrame({"a": ["x"], "b": ["y|z*"]})).to_markdown()
    assert r"y\|z\*" in piped


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


def test_a_table_of_many_rows_says_how_many_it_leaves_out():
    table = Table(pd.DataFrame({"path": [str(i) for i in range(1000)], "distance": np.arange(1000.0)}))
    assert "800 more rows" in repr(table)
    assert len(table.frame) == 1000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of two methods with three and ten seeds."""
    folder = tmp_path_factory.mktemp("compare")
    for name, count in (("natural", 3), ("edge", 10)):
        for k, run in enumerate(seeds(name, count)):
            run.save(folder / "runs" / f"{name}-s{k + 1}")
    fake("odd", data="photos/val").save(folder / "runs" / "lr=0.1")
    return folder


def run(folder, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        return main(["compare", *words])


def test_groups_are_given_as_patterns_or_as_the_shell_expanded_them(place, capsys):
    patterns = ["natural=runs/natural-s*", "edge=runs/edge-s*"]
    assert run(place, [*patterns, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows"][0]["seeds_other"] == 10
    expanded = [f"{name}={p.relative_to(place)}" for name in ("natural", "edge") for p in place.glob(f"runs/{name}-s*")]
    assert run(place, [*expanded, "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {r["column"]: r["p"] for r in again["rows"]} == pytest.approx({r["column"]: r["p"] for r in found["rows"]})


def test_plain_folders_are_compared_by_image_and_written(place, capsys):
    words = ["runs/natural-s1", "runs/edge-s1", "--columns", "l1,edge", "--primary", "edge", "--smallest", "l1=1/2"]
    for name in ("t.csv", "t.md", "t.tex"):
        assert run(place, [*words, "-o", name]) == 0
        assert f"wrote {name}" in capsys.readouterr().out
    assert pd.read_csv(place / "t.csv")["column"].tolist() == ["edge", "l1"]
    assert "equivalent" in (place / "t.md").read_text()
    assert "\\toprule" in (place / "t.tex").read_text()


def test_a_columns_name_may_hold_commas_and_equals_signs(tmp_path, capsys):
    name = "robust[pgd,linf,eps=4/255]"
    for label in "ab":
        fake(label, columns={name: np.random.default_rng(ord(label)).random(40)}).save(tmp_path / label)
    assert run(tmp_path, ["a", "b", "--columns", f"l1,{name}", "--smallest", f"{name}=1/2,l1=9", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(r["column"], r["verdict"]) for r in rows] == [("l1", "equivalent"), (name, "equivalent")]


def test_json_has_no_number_that_json_lacks(place, capsys):
    assert run(place, ["a=runs/natural-s1", "b=runs/natural-s2", "c=runs/edge-s*", "--json", "--reference", "b"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=lambda name: pytest.fail(name))
    assert any(row["low"] is None for row in found["rows"])


MISTAKES = {
    "runs/natural-s1": ["1 runs", "two"],
    "": ["two"],
    "runs/natural-s1 runs/nowhere": ["runs/nowhere", "holds no run"],
    "runs/natural-s1 B=runs/nowhere-*": ["no folder matches runs/nowhere-*"],
    "runs/natural-s1 =runs/edge-s1": ["LABEL=FOLDER"],
    "runs/natural-s1 runs/natural-s2": ["two runs are called natural", "before=FOLDER"],
    "runs/natural-s1 runs/lr=0.1": ["data digits/val against photos/val"],
    "runs/natural-s1 runs/edge-s1 --columns l3": ["l3", "l1"],
    "runs/natural-s1 runs/edge-s1 --primary l3": ["l3", "l1"],
    "runs/natural-s1 runs/edge-s1 --where l1>>": ["cannot select"],
    "runs/natural-s1 runs/edge-s1 --where l1>99": ["share no image", "l1>99"],
    "runs/natural-s1 runs/edge-s1 --smallest l1": ["l1=0.5"],
    "runs/natural-s1 runs/edge-s1 --smallest l1=-1": ["above 0"],
    "runs/natural-s1 runs/edge-s1 --reference gold": ["gold", "natural"],
    "runs/natural-s1 runs/edge-s1 -o t.xlsx": [".csv, .md, .tex"],
    "runs/natural-s1 runs/edge-s1 -o nowhere/t.csv": ["cannot write"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_one_line(line, place, capsys):
    assert run(place, line.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert [w for w in MISTAKES[line] if w not in said] == [], said


def test_what_stands_beside_a_measure_is_compared_when_asked_for():
    a, b = fake("a"), fake("b")
    for run in (a, b):
        run.samples["l1_null"] = run.samples["l1"] / 2
    assert "l1_null" not in set(compare([a, b]).frame["column"])
    assert set(compare([a, b], columns=["l1_null"]).frame["column"]) == {"l1_null"}
