"""The report as a file: its numbers are the run's, the same runs give the same bytes, and names stay text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from report_runs import made_run

from gradlens import Run, compare
from gradlens.cli.main import main
from gradlens.plotting import draw
from gradlens.plotting.pictures import in_gray
from gradlens.report import write_report
from gradlens.report._columns import tables
from gradlens.report._encode import DOUBLE_ERROR, FLOAT_ERROR, encode
from gradlens.report._figures import draw_all
from gradlens.report._pictures import SIDE, cards, picture

EVIL = """<script>alert("x")</script>'"><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}</script>"""


class Page(HTMLParser):
    """Elements with their attributes and the text before their first end tag."""

    def __init__(self, file: Path):
        super().__init__()
        self.elements: list[list] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.elements and self.open:
            self.elements[-1][2] += data

    def all(self, tag, **attributes):
        return [e for e in self.elements if e[0] == tag and all(e[1].get(k) == v for k, v in attributes.items())]

    def texts(self):
        return [" ".join(text.split()) for _, _, text in self.elements]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [made_run("natural", seed=0), made_run("robust", seed=1)]


@pytest.fixture(scope="module")
def place(runs, tmp_path_factory) -> Path:
    """Saved runs, and a report of both."""
    folder = tmp_path_factory.mktemp("report")
    for run in runs:
        run.save(folder / run.label)
    write_report(runs, folder / "both.html")
    return folder


@pytest.fixture
def without_figures(monkeypatch):
    """Most of the time goes into figures, which other tests look at."""
    monkeypatch.setattr("gradlens.report._write.draw_all", lambda runs: ([], {}))


def decoded(encoded) -> np.ndarray:
    """What a column's block holds, read by another way than the page's: number by number."""
    content = zlib.decompress(base64.b64decode(encoded.numbers))
    kind = {"float": "<f4", "double": "<f8", "integer": "<i4", "boolean": "u1", "text": "<i4"}[encoded.kind]
    size = np.dtype(kind).itemsize
    kept = size - (encoded.kind == "float")
    rows = len(content) // kept
    numbers = [bytes(size - kept) + content[row::rows] for row in range(rows)]
    return np.frombuffer(b"".join(numbers), kind)


@given(st.lists(st.floats(width=64), min_size=1, max_size=50))
def test_numbers_keep_their_stated_precision_and_none_vanishes(values):
    encoded = encode(pd.Series(values, dtype=np.float64))
    found, expected = decoded(encoded).astype(np.float64), np.array(values)
    error = {"float": FLOAT_ERROR, "double": DOUBLE_ERROR}[encoded.kind]
    ordinary = np.isfinite(expected) & (np.abs(expected) > 1e-300) & (np.abs(expected) < 1e300)
    np.testing.assert_allclose(found[ordinary], expected[ordinary], rtol=error, atol=0)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert not ((found == 0) & ordinary).any()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([3, -(2**31), 2**31 - 1], "integer"),
        ([2**40, -5], "double"),
        ([True, False], "boolean"),
        ([0.5, np.nan, np.inf, -np.inf], "float"),
        ([1e-60, 0.5], "double"),
    ],
)
def test_whole_numbers_and_special_ones_are_exact(values, kind):
    encoded = encode(pd.Series(values))
    assert encoded.kind == kind
    tolerance = DOUBLE_ERROR if 1e-60 in values else 0
    np.testing.assert_allclose(decoded(encoded), np.array(values, np.float64), rtol=tolerance)


def test_missing_whole_numbers_and_words_stay_missing():
    assert np.isnan(decoded(encode(pd.Series([1, None], dtype="Int64")))[1])
    encoded = encode(pd.Series(["b", None, "ä\n", "b"]))
    assert json.loads(zlib.decompress(base64.b64decode(encoded.words))) == ["b", "ä\n"]
    assert decoded(encoded).tolist() == [0, -1, 1, 0]


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(runs, place, tmp_path):
    assert write_report(runs, tmp_path / "again.html").read_bytes() == (place / "both.html").read_bytes()


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(place):
    page = Page(place / "both.html")
    addresses = [
        v for _, attrs, _ in page.elements for k, v in attrs.items() if k in ("src", "href", "data-own", "action")
    ]
    assert [a for a in addresses if not a.startswith(("data:image/", "#"))] == ["data:,"]
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0][1]["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (text,) = [text for _, attrs, text in page.all(tag) if "type" not in attrs]
        expected = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{expected}'" in policy
    assert not [attrs for _, attrs, _ in page.elements if any(k == "style" or k.startswith("on") for k in attrs)]


def test_numbers_are_the_summarys_with_interval_and_meaning(runs, place):
    texts = Page(place / "both.html").texts()
    row = texts.index("L1 norm, mean")
    for run, text in zip(runs, texts[row + 1 :], strict=False):
        value, _, half = text.partition(" ± ")
        width = run.summary["l1_mean_high"] - run.summary["l1_mean_low"]
        assert float(value) == pytest.approx(run.summary["l1_mean"], abs=width / 20)
        assert float(half) == pytest.approx(width / 2, rel=0.05)
    assert texts[row + 3].startswith("nats per unit pixel")
    assert texts.count("missing: no image is wrong") == 1


def test_the_comparison_is_compares_table_or_says_why_there_is_none(runs, place, tmp_path, without_figures):
    page, table = Page(place / "both.html").texts(), compare(runs)
    for cells in table.printed.to_numpy().tolist():
        row = next(k for k, text in enumerate(page) if page[k : k + len(cells)] == cells)
        assert row
    other = made_run("other", images=150)
    text = write_report([runs[0], other], tmp_path / "apart.html").read_text()
    assert "Not compared: runs natural and other cannot be compared: images 200 against 150" in text


def test_groups_of_seeds_are_compared_as_groups(tmp_path, without_figures):
    groups = {name: [made_run("net", seed=k + 10 * (name == "edge")) for k in range(3)] for name in ("plain", "edge")}
    for k, run in enumerate(run for group in groups.values() for run in group):
        run.provenance["weights"] = str(k)
    texts = Page(write_report(groups, tmp_path / "seeds.html")).texts()
    assert {"plain 1", "plain 3", "edge 2", "g"} <= set(texts)
    assert any(text.startswith("training seeds: plain 3, edge 3") for text in texts)


@pytest.mark.slow
def test_every_figure_is_drawn_or_says_what_it_needs(runs):
    drawn, absent = draw_all(runs)
    assert {"gradient_gallery", "gradient_norm_distribution", "edge_concentration"} <= {figure.name for figure in drawn}
    assert not [reason for reason in absent.values() if reason.startswith("failed")]
    assert "gradient_spectrum" in absent["gradient_spectrum"]
    assert all(len(figure.picture) < 600_000 for figure in drawn)


@pytest.mark.slow
def test_a_figure_that_breaks_is_named_and_costs_nothing_else(runs, monkeypatch):
    from gradlens.core.registry import figure as registered

    def broken(runs):
        """A figure."""
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(registered._methods, "broken", broken)
    drawn, absent = draw_all(runs[:1])
    assert absent["broken"] == "failed with ZeroDivisionError: oh"
    assert drawn


def test_pictures_are_those_of_the_gallery(runs):
    gradients = [run.examples["gradient"][0].astype(float) * run.examples["scale"][0] for run in runs]
    limit = max(np.quantile(np.abs(g), 0.99) for g in gradients)
    drawn = draw("gradient_gallery", runs)
    shown = [ax.images[0].get_array() for ax in drawn.axes if ax.images]
    for gradient in gradients:
        expected = in_gray(gradient.transpose(1, 2, 0), limit)
        assert any(image.shape == expected.shape and np.allclose(image, expected) for image in shown)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (500, 250, 3), (224, 224, 1), (3, 900, 3)])
def test_pictures_are_small_and_whole(height, width, channels, rng):
    from io import BytesIO

    from PIL import Image

    pixels = rng.random((height, width, channels))
    uri = picture(pixels)
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")) / 255
    assert max(shown.shape) == min(SIDE, max(height, width))
    if max(height, width) <= 64:
        np.testing.assert_allclose(shown, np.broadcast_to(pixels, shown.shape), atol=0.5 / 255 + 1e-9)
    np.testing.assert_allclose(shown.mean((0, 1)), np.broadcast_to(pixels.mean((0, 1)), 3), atol=0.02)


def test_examples_of_several_runs_stand_on_one_card(runs):
    found = cards(runs)
    assert [[look.run for look in card.looks] for card in found] == [[0, 1]] * 3
    assert [card.path for card in found] == runs[0].samples.loc[runs[0].examples["index"], "path"].tolist()
    apart = cards([runs[0], made_run("other", images=150)])
    assert [len(card.looks) for card in apart] == [1] * 6
    # The loudest of an image has one scale; the others are paler on it than on their own.
    for card in found:
        assert sum(look.own == look.shared for look in card.looks) == 1


def test_columns_beyond_the_budget_are_named_nulls_first(runs):
    (table,) = tables(runs[:1], budget=25_000)
    carried = [column.name for column in table.columns]
    assert {"path", "l1", "correct", "edge_partial_contour"} <= set(carried)
    assert sum(column.encoded.size for column in table.columns) <= 25_000
    assert set(carried) | set(table.left_out) == {*runs[0].samples.columns, "label_name", "prediction_name"}
    assert sum(name.endswith("_null") for name in table.left_out) >= sum(name.endswith("_null") for name in carried)
    assert tables(runs[:1], budget=0)[0].columns


def test_links_lead_to_the_raw_numbers_from_near_by_only(place, tmp_path, without_figures):
    assert main(["report", str(place / "natural")]) == 0
    page = Page(place / "natural" / "report.html")
    assert "./samples.parquet" in [attrs["href"] for _, attrs, _ in page.all("a")]
    strange = place / "a b:c#d"
    (place / "natural").rename(strange)
    assert main(["report", str(strange), "-o", str(place / "one.html")]) == 0
    links = [attrs["href"] for _, attrs, _ in Page(place / "one.html").all("a")]
    assert "./a%20b%3Ac%23d/summary.json" in links
    strange.rename(place / "natural")
    far = tmp_path / "far" / "away" / "from" / "it"
    far.mkdir(parents=True)
    assert main(["report", str(place / "natural"), "-o", str(far / "one.html")]) == 0
    assert "samples.parquet" not in "".join(attrs.get("href", "") for _, attrs, _ in Page(far / "one.html").all("a"))


@pytest.mark.slow
def test_a_report_is_written_where_torch_cannot_be_imported(place):
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] != 'torch', 'the report imported torch'\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from gradlens import Run\nfrom gradlens.report import write_report\n"
        "write_report([Run.load('natural'), Run.load('robust')], 'without.html')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True)
    assert (place / "without.html").read_bytes() == (place / "both.html").read_bytes()


def _without(name):
    def change(folder):
        (folder / name).unlink()

    return change


def _edited(name, change):
    def edit(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def _unguarded(content):
    """As an older version wrote it, without hashes to notice a change by."""
    content.pop("sha256", None)


DAMAGE = {
    "incomplete": (_without("run.json"), "holds no run"),
    "without samples": (_without("samples.parquet"), "damaged"),
    "of another version": (_edited("run.json", lambda c: c.update(format=99)), "another version"),
    "edited numbers": (_edited("summary.json", lambda c: c.update(l1_mean=0)), "changed"),
    "edited readings": (_edited("run.json", lambda c: c.update(readings=[["a"]])), "readings"),
    "edited model": (_edited("run.json", lambda c: c.update(model="resnet")), "'model' in run.json is a str"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_one_line_and_exit_code_2(damage, runs, tmp_path, capsys):
    change, word = DAMAGE[damage]
    change(runs[0].save(tmp_path / "run"))
    assert main(["report", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert word in said
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["natural", "-o", "report.pdf"], ".html"),
        (["natural", "-o", "natural/samples.parquet/x/report.html"], "cannot write"),
        (["natural", "-o", "folder.html"], "cannot write"),
        (["natural", "natural"], "two runs are called natural"),
        (["natural", "robust", "--labels", "one"], "--labels"),
        (["nowhere"], "nowhere holds no run"),
        ([], "no run given"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, said, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "folder.html").mkdir(exist_ok=True)
    assert main(["report", *words]) == 2
    text = capsys.readouterr().err.strip()
    assert "\n" not in text
    assert said in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda run: run.examples.update(index=np.array([0, 7, 10**6])), "1000000"),
        (lambda run: run.examples.pop("scale"), "scale"),
        (lambda run: run.examples.update(scale=np.ones(2)), "scales"),
        (lambda run: run.summary.update(l1_mean="high"), "l1_mean"),
        (lambda run: setattr(run, "samples", run.samples.drop(columns="path")), "path"),
        (lambda run: setattr(run, "samples", run.samples.head(0)), "no rows"),
    ],
)
def test_a_run_without_what_every_run_has_is_refused(change, word, tmp_path):
    run = made_run("net")
    change(run)
    with refused("run net cannot be reported", word):
        write_report(run, tmp_path / "report.html")


def test_small_and_bare_runs_are_reported(tmp_path, without_figures):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    text = write_report(bare, tmp_path / "bare.html").read_text()
    assert "bare" in text
    with refused("no run given"):
        write_report([], tmp_path / "none.html")


def evil_run() -> Run:
    """Names of everything that a user or a file can name are markup."""
    run = made_run(f"net {EVIL}")
    run.samples["path"] = [f"{EVIL}/{k}" for k in range(len(run.samples))]
    run.samples[f"column {EVIL}"] = 1.0
    # A table cuts long texts, so some are short.
    names = [f"{k} {EVIL if k % 2 else '<img src=x>'}" for k in range(10)]
    run.provenance["model"] |= {"class_names": names, "notes": [f"beware {EVIL}"]}
    run.provenance["readings"] = [*run.readings, [f"title {EVIL}", "l1_median", EVIL]]
    run.provenance["argv"] = ["gradlens", EVIL]
    run.summary["data"] = EVIL
    return run


def test_names_never_become_markup(runs, tmp_path, without_figures):
    plain = Page(write_report(runs[0], tmp_path / "plain.html"))
    evil = Page(write_report(evil_run(), tmp_path / "evil.html", title=EVIL))
    own = [attrs for _, attrs, _ in evil.all("script") if "type" not in attrs]
    assert own == [{}]
    assert not [attrs for _, attrs, _ in evil.elements if "onerror" in attrs or attrs.get("src") == "x"]
    assert {tag for tag, _, _ in evil.elements} <= {tag for tag, _, _ in plain.elements} | {"aside", "ul", "li"}
    assert not re.search(r"(?<!\d)49(?!\d)", evil.all("title")[0][2])


def test_what_two_runs_have_in_common_is_in_the_page_once(runs, place):
    page = Page(place / "both.html")
    blocks = [text for _, _, text in page.all("script", type="text/plain")]
    assert len(set(blocks)) == len(blocks)
    about = json.loads(page.all("script", id="runs")[0][2])
    paths = [next(column for column in run["columns"] if column["name"] == "path") for run in about]
    assert paths[0] == paths[1]
