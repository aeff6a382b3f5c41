"""The report as a file: its numbers are the run's, the same runs give the same bytes, and names stay text."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from importlib.resources import files

import pandas as pd
import pytest
from refusals import refused
from report_runs import EVIL, Page, evil_run, made_run

from gradlens import Run, compare
from gradlens.report import write_report


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


def test_small_and_bare_runs_are_reported(tmp_path, without_figures):
    bare = Run(pd.DataFrame({"index": [0], "path": ["a"]}), {"model": "bare"})
    text = write_report(bare, tmp_path / "bare.html").read_text()
    assert "bare" in text
    with refused("no run given"):
        write_report([], tmp_path / "none.html")


def test_names_never_become_markup(runs, tmp_path, without_figures):
    plain = Page(write_report(runs[0], tmp_path / "plain.html"))
    evil = Page(write_report(evil_run(), tmp_path / "evil.html", title=EVIL))
    own = [attrs for _, attrs, _ in evil.all("script") if "type" not in attrs]
    assert own == [{}]
    assert not [attrs for _, attrs, _ in evil.elements if "onerror" in attrs or attrs.get("src") == "x"]
    assert {tag for tag, _, _ in evil.elements} <= {tag for tag, _, _ in plain.elements} | {"aside", "ul", "li"}
    assert not re.search(r"(?<!\d)49(?!\d)", evil.all("title")[0][2])


def test_every_run_has_its_first_thousand_images_in_the_page(runs, place, tmp_path, without_figures):
    page = Page(place / "both.html")
    cells = [text for _, _, text in page.all("bdi")]
    assert cells == [path for run in runs for path in run.samples["path"]]
    long = Page(write_report(made_run("long", images=1234), tmp_path / "long.html"))
    assert len(long.all("bdi")) == 1000
    assert any("the first 1,000 of 1,234 images" in text for text in long.texts())


def test_text_stands_out_from_its_ground_in_light_and_dark():
    style = (files("gradlens.report") / "page" / "style.css").read_text()
    colours = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\(#(\w+), #(\w+)\)", style)}

    def brightness(colour):
        channels = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    pairs = [(text, ground) for ground in ("ground", "raised") for text in ("ink", "soft", "accent", "alarm")]
    for text, ground in [*pairs, ("ink", "marked"), ("alarm", "alarm-ground"), ("ink", "alarm-ground")]:
        for one, other in zip(colours[text], colours[ground], strict=True):
            below, above = sorted([brightness(one), brightness(other)])
            # What WCAG 2 asks of small text at its level AA.
            assert above / below >= 4.5, (text, ground)
