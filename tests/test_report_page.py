"""The report in headless Chromium: sorting, filters, examples, light and dark; nothing is fetched or logged."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import made_run
from test_report import EVIL, evil_run

from gradlens import Run
from gradlens.report import write_report

pytestmark = pytest.mark.slow
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000")
PATIENCE = 20


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium; where it is missing CI fails, and a laptop skips."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        why = "Chromium is missing; apt-get install chromium chromium-driver"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    downloads = tmp_path_factory.mktemp("downloads")
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [made_run("natural", seed=0), made_run("robust", seed=1)]


@pytest.fixture(scope="module")
def reports(runs, tmp_path_factory) -> Path:
    """Reports without figures, but for one run's: others look at those."""
    folder = tmp_path_factory.mktemp("pages")
    write_report(runs[0], folder / "figures.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradlens.report._write.draw_all", lambda runs: ([], {}))
        write_report(runs[0], folder / "one.html")
        write_report(runs, folder / "two.html")
        write_report(evil_run(), folder / "evil.html", title=EVIL)
        write_report(many_rows(), folder / "many.html")
    return folder


def many_rows() -> Run:
    """More rows than pixels that a browser scrolls over."""
    index = np.arange(400_000)
    samples = pd.DataFrame({"index": index, "path": [f"a/{k}" for k in index], "l1": index % 1000 / 7})
    return Run(samples, {"model": "many"})


class Opened:
    """A page in the browser, as a reader handles it."""

    def __init__(self, browser, file: Path):
        self.browser = browser
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(file.as_uri())
        self.until("return performance.getEntriesByName('gradlens-ready').length")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def until(self, script, wanted=None):
        """Wait until a script says so; its answer."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self.run(script)
            if (found == wanted) if wanted is not None else found:
                return found
            assert time.monotonic() < end, f"{script}: {found}, wanted {wanted}; {self.browser.get_log('browser')}"
            time.sleep(0.02)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def filter(self, box, text, count):
        """Write into a box above the table, and wait for so many images."""
        self.run("document.getElementById(arguments[0]).value = arguments[1]", box, text)
        self.run("document.getElementById('filters').requestSubmit()")
        self.until("return document.getElementById('count').textContent", count)

    def names(self):
        """The columns shown."""
        return self.run("return [...document.querySelectorAll('#table thead button')].map((b) => b.firstChild.data)")

    def sort(self, name):
        before = self.run("return performance.getEntriesByName('gradlens-sort').length")
        self.browser.find_elements("css selector", "#table thead button")[self.names().index(name)].click()
        self.until("return performance.getEntriesByName('gradlens-sort').length", before + 1)

    def cells(self, name):
        """What the lines in the document show in a column."""
        lines = "[...document.querySelectorAll('#table .rows tr')]"
        return self.run(
            f"return {lines}.map((line) => line.children[arguments[0]].textContent)", self.names().index(name)
        )

    def in_view(self):
        """Whether the current line can be seen whole."""
        return self.run(
            "const line = document.querySelector('#table tr.current').getBoundingClientRect();"
            "const box = document.getElementById('table').getBoundingClientRect();"
            "return line.top >= box.top + 30 && line.bottom <= box.bottom;"
        )

    def rows(self):
        return self.run("return [...document.querySelectorAll('#table .rows tr')].map((line) => +line.dataset.row)")


@pytest.fixture
def opened(browser, reports):
    """Opens a page, and afterwards looks at its console and at what it fetched."""

    def page(name):
        return Opened(browser, reports / f"{name}.html")

    yield page
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("data:", "blob:", reports.as_uri()))] == []


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("–", "nan"))


def test_it_shows_the_runs_rows_and_only_those_in_view(opened, runs):
    page, samples = opened("one"), runs[0].samples
    assert page.find("#count").text == "200 images"
    assert page.find("#table table").get_attribute("aria-rowcount") == "201"
    shown = page.rows()
    assert shown == list(range(len(shown)))
    assert len(shown) < 60
    found = np.array([number(text) for text in page.cells("l1")])
    np.testing.assert_allclose(found, samples["l1"].head(len(found)), rtol=1e-3)
    assert page.cells("correct") == ["yes" if c else "no" for c in samples["correct"].head(len(shown))]
    assert all(
        samples["path"][row].endswith(text.lstrip("…")) for row, text in zip(shown, page.cells("path"), strict=True)
    )


def test_figures_and_pictures_can_be_seen(opened):
    page = opened("figures")
    sizes = page.run("return [...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert len(sizes) > 10
    assert all(complete and width for complete, width in sizes)


def test_numbers_sort_both_ways_with_missing_ones_last(opened, runs):
    page, column = opened("one"), "edge_partial_contour"
    values = runs[0].samples[column]
    assert values.isna().any()
    for ascending in (False, True):
        page.sort(column)
        expected = values.sort_values(ascending=ascending, na_position="last", kind="stable").index
        assert page.rows() == expected[: len(page.rows())].tolist()
        page.run("const box = document.getElementById('table'); box.scrollTop = box.scrollHeight")
        page.until("return document.querySelector('#table .rows tr:last-child').dataset.place", "199")
        assert page.cells(column)[-1] == "–"
        assert page.rows() == expected[-len(page.rows()) :].tolist()
    assert page.run("return document.querySelectorAll('#table th[aria-sort=ascending]').length") == 1
    page.sort(column)
    assert page.rows()[:3] == [0, 1, 2]


def test_text_sorts_by_the_alphabet_and_equal_ones_stay_in_order(opened, runs):
    page = opened("one")
    page.sort("label_name")
    names = runs[0].samples["label"].map(dict(enumerate(runs[0].provenance["model"]["class_names"])))
    assert page.rows() == names.sort_values(kind="stable").index[: len(page.rows())].tolist()


CONDITIONS = [
    "l1 > 1 and correct",
    "not correct or loss >= .5",
    "0.5 < l1 <= 2",
    "l1 > 2 * l2 - linf ** 2 / 3 % 2",
    "-l1 < -1e0 & ~(confidence > 0.9) | correct",
    "label == 3 and prediction != label",
    "edge_partial_contour > 0.3",
    "edge_partial_contour != edge_partial_contour",
    "not edge_partial_contour > 0.3",
    "abs(margin) < 2 and log10(l1) > 0",
    "sqrt(l1) + correct > 2",
    "correct == False",
    "path == '{path}'",
    'path != "{path}" and index < 20',
    "`robust[pgd10,linf,4/255]` == 1",
]


def test_conditions_choose_the_rows_that_select_does(opened, runs):
    page, run = opened("one"), runs[0]
    for written in CONDITIONS:
        condition = written.format(path=run.samples["path"][5])
        expected = run.samples.index[run.samples.eval(condition, engine="python")]
        assert 0 < len(expected) < 200
        page.filter("condition", condition, f"{len(expected)} of 200 images")
        assert page.rows() == expected[: len(page.rows())].tolist(), condition


def test_names_with_signs_in_them_need_no_quotes(opened, runs):
    page = opened("one")
    expected = int((runs[0].samples["robust[pgd10,linf,4/255]"] == 1).sum())
    page.filter("condition", "robust[pgd10,linf,4/255]==1", f"{expected} of 200 images")


MISTAKES = {
    "l1 >": "ends too early",
    "l1 > 3 and": "ends too early",
    "corect": "did you mean correct?",
    "l1": "l1 (a number) is not true or false; write for example l1 > 10",
    "path": 'write for example path == "…"',
    "l1 = 3": "write ==",
    "l1 > 'a'": "put text in quotes, and compare numbers with numbers",
    "path > 'a'": "has no order",
    "(l1 > 3": "add )",
    "l1 > 3 l2": "is not expected here",
    "l1 > 3 and l2": "l2 (a number) is not true or false",
    "and l1 > 3": "“and” needs a column",
    "path + 1 > 2": "path (text) is not a number",
    "l1 > $": "“$” is not understood",
    "fetch('https://example.org')": "no column is called “fetch”",
    "constructor > 1": "no column is called “constructor”",
    "__proto__ == 1": "no column is called",
    "toString(l1) > 1": "no column is called",
    "l1; alert(1)": "“;” is not understood",
    "<img src=x onerror=alert(1)>": "needs a column or a number",
}


def test_a_condition_that_cannot_be_read_is_explained_and_the_last_one_kept(opened, runs):
    page = opened("one")
    count = f"{int((runs[0].samples['l1'] > 1).sum())} of 200 images"
    for mistake, word in MISTAKES.items():
        page.filter("condition", "l1 > 1", count)
        assert page.find("#condition-error").text == ""
        page.filter("condition", mistake, count)
        page.until("return document.getElementById('condition').getAttribute('aria-invalid')", "true")
        said = page.run("return document.getElementById('condition-error').textContent")
        assert word in said, f"{mistake}: {said}"
        assert len(said) < 200


def test_text_is_found_in_paths_and_names(opened, runs):
    page = opened("one")
    samples, names = runs[0].samples, runs[0].provenance["model"]["class_names"]
    owls = samples.index[
        samples["label"].map(lambda k: "owl" in names[k]) | samples["prediction"].map(lambda k: "owl" in names[k])
    ]
    page.filter("search", "OWL", f"{len(owls)} of 200 images")
    page.filter("search", "00000017", "1 of 200 images")
    assert page.rows() == [17]
    page.filter("search", "no such", "0 of 200 images")
    assert page.rows() == []


def test_filters_sorting_and_examples_go_together_and_are_saved_as_csv(opened, runs, browser):
    page, samples = opened("one"), runs[0].samples
    page.sort("loss")
    expected = samples[samples["l1"] > 1].sort_values("loss", ascending=False, kind="stable")
    page.filter("condition", "l1 > 1", f"{len(expected)} of 200 images")
    page.find("#csv").click()
    file = browser.downloads / "natural.csv"
    end = time.monotonic() + PATIENCE
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    saved = pd.read_csv(file)
    assert saved["path"].tolist() == expected["path"].tolist()
    np.testing.assert_allclose(saved["loss"], expected["loss"], rtol=2e-5)
    assert list(saved) == page.names()
    page.filter("condition", "", "200 images")
    page.find("#with-example").click()
    page.until("return document.getElementById('count').textContent", "3 of 200 images")
    assert sorted(page.rows()) == sorted(runs[0].examples["index"].tolist())


def test_a_row_opens_its_example_with_the_numbers_of_every_run(opened, runs):
    page = opened("two")
    row = int(runs[0].examples["index"][1])
    page.run("document.querySelector(`#table tr[data-row='${arguments[0]}']`).click()", row)
    page.until("return document.getElementById('look').open")
    assert page.find("#look-title").text == runs[0].samples["path"][row]
    assert len(page.browser.find_elements("css selector", "#look-pictures img")) == 3
    lines = page.run(
        "const cells = (line) => [...line.children].map((cell) => cell.textContent);"
        "return [...document.querySelectorAll('#look-body tr')].map(cells)"
    )
    table = {name: cells for name, *cells in lines}
    for k, run in enumerate(runs):
        assert number(table["l1"][k]) == pytest.approx(run.samples["l1"][row], rel=1e-3)
    assert len(table) == len(runs[0].samples.columns) + 1
    page.find("#look-on").click()
    page.until("return document.getElementById('look-title').textContent", runs[0].samples["path"][row + 1])
    assert page.find("#look-none").is_displayed()
    page.find("#look-close").click()
    page.until("return document.activeElement.id", "table")


def test_a_card_opens_its_image_and_gradients_can_stand_on_their_own_scale(opened):
    page = opened("two")
    before = page.run("return [...document.querySelectorAll('.card img')].map((image) => image.src)")
    page.find("#own-scale").click()
    after = page.run("return [...document.querySelectorAll('.card img')].map((image) => image.src)")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 3
    page.find("#own-scale").click()
    assert page.run("return [...document.querySelectorAll('.card img')].map((image) => image.src)") == before
    page.find("#card-2 button").click()
    page.until("return document.getElementById('look').open")


def test_another_run_keeps_columns_order_and_condition(opened, runs):
    page = opened("two")
    page.sort("l1")
    page.run("document.querySelector('input[name=run][value=\"1\"]').click()")
    expected = runs[1].samples["l1"].sort_values(ascending=False).index
    page.until("return +document.querySelector('#table .rows tr').dataset.row", int(expected[0]))
    count = int((runs[1].samples["l1"] > 1).sum())
    page.filter("condition", "l1 > 1", f"{count} of 200 images")


def test_columns_are_chosen_in_a_menu(opened):
    page = opened("one")
    page.find("#chooser summary").click()
    for sought, found in {"spare": [], "share_": ["share_r", "share_g", "share_b"]}.items():
        page.find("#find-column").clear()
        page.find("#find-column").send_keys(sought)
        visible = "[...document.querySelectorAll('#columns label')].filter((l) => !l.hidden)"
        assert page.run(f"return {visible}.map((l) => l.textContent)") == found
    page.find("#columns input[value=share_g]").click()
    shown = "document.querySelector('#table thead').textContent.includes('share_g')"
    page.until(f"return {shown}")
    page.find("#first-columns").click()
    page.until(f"return !{shown}")


def test_the_table_is_used_by_keyboard(opened):
    page = opened("many")
    from selenium.webdriver.common.keys import Keys

    box = page.find("#table")
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.run("return document.querySelector('#table tr.current').dataset.place") == "2"
    box.send_keys(Keys.END)
    page.until("return document.querySelector('#table tr.current')?.dataset.place", "399999")
    assert page.in_view()
    box.send_keys(Keys.ARROW_UP)
    page.until("return document.querySelector('#table tr.current')?.dataset.place", "399998")
    assert page.in_view()
    page.run("document.getElementById('table').scrollTop /= 2")
    page.until("return document.querySelector('#table tr.current') === null")
    middle = page.run("return +document.querySelectorAll('#table .rows tr')[10].dataset.place")
    assert abs(middle - 200_000) < 100
    box.send_keys(Keys.ARROW_DOWN)
    page.until("return document.querySelector('#table tr.current')?.dataset.place", "399999")
    assert page.in_view()
    box.send_keys(Keys.ENTER)
    page.until("return document.getElementById('look').open")
    assert page.find("#look-place").text == "400,000 of 400,000 images"
    page.find("#look").send_keys(Keys.ESCAPE)
    page.until("return !document.getElementById('look').open")
    box.send_keys(Keys.HOME)
    page.until("return document.querySelector('#table tr.current')?.dataset.place", "0")


def test_light_and_dark_follow_the_system_and_the_button(opened, browser):
    ground = "return getComputedStyle(document.body).backgroundColor"
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    page = opened("one")
    light = page.run(ground)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    dark = page.run(ground)
    assert dark != light
    page.find("#theme").click()
    assert page.run(ground) == light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature | {"value": "light"}]})
    page.find("#theme").click()
    assert page.run(ground) == dark


def test_text_stands_out_from_its_ground_in_light_and_dark(opened):
    page = opened("figures")
    contrast = """
        const style = getComputedStyle(document.documentElement);
        const light = (name) => {
          const channels = style.getPropertyValue(name).match(/[0-9a-f]{2}/g).map((c) => parseInt(c, 16) / 255);
          const [r, g, b] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        };
        return arguments[0].map(([a, b]) => Math.max(light(a) / light(b), light(b) / light(a)));
    """
    pairs = [
        [text, ground] for ground in ("--ground", "--raised") for text in ("--ink", "--soft", "--accent", "--alarm")
    ]
    pairs += [["--ink", "--marked"], ["--alarm", "--alarm-ground"], ["--ink", "--alarm-ground"]]
    for theme in ("light", "dark"):
        page.run("document.documentElement.dataset.theme = arguments[0]", theme)
        # What WCAG 2 asks of small text at its level AA.
        assert min(page.run(contrast, pairs)) >= 4.5


def test_nothing_sticks_out_of_a_narrow_window(opened, browser):
    size = {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page = opened("two")
    assert page.run("return document.documentElement.scrollWidth") == page.run(
        "return document.documentElement.clientWidth"
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_printed_pages_hold_the_rows_in_view_and_no_empty_room(opened, browser):
    page = opened("many")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.run("return document.documentElement.scrollHeight") < 10_000
    assert not page.find("#filters").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_names_never_run(opened):
    page = opened("evil")
    assert page.find("h1").text == " ".join(EVIL.split())
    assert "<img src=x>" in " ".join(page.cells("label_name"))
    assert page.run("return document.querySelectorAll('img[src=x]').length") == 0
    page.run("document.querySelector('#table tr[data-row]').click()")
    page.until("return document.getElementById('look').open")
    assert page.find("#look-title").text == f"{EVIL}/0"
    assert page.run("return document.querySelectorAll('#look script, #look img[src=x], #table script').length") == 0
    page.run("document.getElementById('look').close()")
    page.find("#chooser summary").click()
    assert EVIL in page.run("return [...document.querySelectorAll('#columns label')].map((l) => l.textContent).join()")
    page.filter("condition", f"`column {EVIL}` == 1", "200 images")
