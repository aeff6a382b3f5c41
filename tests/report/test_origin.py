"""Where a run comes from: links to its files from near by, and what differs between runs."""

from __future__ import annotations

from report_runs import Page, made_run

from gradlens.cli.main import main
from gradlens.report._origin import complete, facts


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


def test_what_differs_between_runs_is_marked():
    plain, other = made_run("plain"), made_run("other")
    other.provenance["seed"] = 7
    found = {fact.name: fact for fact in facts([plain, other])}
    assert found["seed"].values == ("0", "7")
    assert found["seed"].differs
    assert not found["precision"].differs
    assert found["command"].values[0] == "gradlens analyze plain.pt --data photos"
    assert "processes" not in found


def test_long_lists_of_classes_are_cut():
    run = made_run("plain")
    assert '"gray cat"' in complete(run)
    run.provenance["model"]["class_names"] = [f"class {k}" for k in range(1000)]
    assert "1,000 in all" in complete(run)
    assert "class 3" not in complete(run)
