"""The report in headless Chromium: sorting, scales, light and dark; nothing is fetched or logged."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from report_runs import EVIL, evil_run

from gradlens.report import write_report

pytestmark = pytest.mark.slow
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000")
PATIENCE = 20


@pytest.fixture(scope="module")
def browser():
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
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def reports(runs, place) -> Path:
    """Reports without figures beside that of both runs with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradlens.report._write.draw_all", lambda runs: ([], {}))
        write_report(runs[0], place / "one.html")
        write_report(evil_run(), place / "evil.html", title=EVIL)
    return place


class Opened:
    """A page in the browser, as a reader handles it."""

    def __init__(self, browser, file: Path):
        self.browser = browser
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(file.as_uri())
        # On a busy machine the driver may come back before the page has been read to its end.
        end = time.monotonic() + PATIENCE
        while self.run("return [location.href, document.readyState]") != [file.as_uri(), "complete"]:
            assert time.monotonic() < end
            time.sleep(0.02)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def names(self):
        """The columns of the first table of images."""
        return self.run("return [...document.querySelector('.images').tHead.rows[0].cells].map((c) => c.textContent)")

    def sort(self, name):
        self.browser.find_elements("css selector", ".images thead button")[self.names().index(name)].click()

    def cells(self, name):
        rows = "[...document.querySelector('.images').tBodies[0].rows]"
        return self.run(f"return {rows}.map((row) => row.cells[arguments[0]].textContent)", self.names().index(name))

    def rows(self):
        """The images' indices, from the top."""
        return [int(text) for text in self.cells("index")]


@pytest.fixture
def opened(browser, reports):
    """Opens a page, and afterwards looks at its console and at what it fetched."""

    def page(name):
        return Opened(browser, reports / f"{name}.html")

    yield page
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("data:", reports.as_uri()))] == []


def test_figures_and_pictures_can_be_seen(opened):
    page = opened("both")
    # A busy machine may still be decoding; what is no picture fails.
    widths = page.browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map((image) => image.decode())).then(() => done(images.map((i) => i.naturalWidth)), "
        "(error) => done([String(error)]))"
    )
    assert len(widths) > 10, widths
    assert all(widths)


def test_numbers_sort_both_ways_with_missing_ones_last(opened, runs):
    page, column = opened("one"), "edge_partial_contour"
    assert page.rows() == list(range(200))
    # As shown, in four digits; equal ones stay as they were.
    values = runs[0].samples[column].map(lambda value: float(f"{value:.4g}"))
    assert values.isna().any()
    order = values
    for ascending in (False, True, False):
        page.sort(column)
        order = order.sort_values(ascending=ascending, na_position="last", kind="stable")
        assert page.rows() == order.index.tolist()
        assert page.cells(column)[-1] == "–"
        sorted_by = page.run(
            "return [...document.querySelectorAll('[aria-sort]')].map((c) => [c.textContent, c.ariaSort])"
        )
        assert sorted_by == [[column, "ascending" if ascending else "descending"]]
    page.sort("index")
    page.sort("index")
    assert page.rows() == list(range(200))


def test_small_and_negative_numbers_sort_as_numbers(opened, runs):
    page = opened("one")
    page.sort("loss")
    shown = [float(text.replace("−", "-")) for text in page.cells("loss")]
    assert min(shown) < 1e-4
    assert shown == sorted(shown, reverse=True)
    np.testing.assert_allclose(shown, runs[0].samples["loss"][page.rows()], rtol=1e-3)


def test_text_sorts_by_the_alphabet_and_equal_ones_stay_in_order(opened, runs):
    page = opened("one")
    page.sort("label")
    names = runs[0].samples["label"].map(dict(enumerate(runs[0].provenance["model"]["class_names"])))
    assert page.rows() == names.sort_values(kind="stable").index.tolist()


def test_gradients_can_stand_on_their_own_scale(opened):
    page = opened("both")
    sources = "return [...document.querySelectorAll('.card img')].map((image) => image.src)"
    before = page.run(sources)
    page.find("#own-scale").click()
    after = page.run(sources)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 3
    page.find("#own-scale").click()
    assert page.run(sources) == before


def test_light_and_dark_follow_the_system_and_the_button(opened, browser):
    ground = "return getComputedStyle(document.body).backgroundColor"
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    page = opened("one")
    light = page.run(ground)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    dark = page.run(ground)
    assert dark != light
    # The page hears of it a moment later.
    end = time.monotonic() + PATIENCE
    while page.find("#theme").text != "Light":
        assert time.monotonic() < end
        time.sleep(0.02)
    page.find("#theme").click()
    assert page.run(ground) == light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature | {"value": "light"}]})
    page.find("#theme").click()
    assert page.run(ground) == dark
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.run(ground) == light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.mark.parametrize("width", [400, 700])
def test_nothing_sticks_out_of_a_narrow_window(width, opened, browser):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page = opened("both")
    root = "document.documentElement"
    assert page.run(f"return {root}.scrollWidth") == page.run(f"return {root}.clientWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_printed_pages_hold_some_rows(opened, browser):
    page = opened("one")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    rows = page.browser.find_elements("css selector", ".images tbody tr")
    assert [row.is_displayed() for row in rows[38:42]] == [True, True, False, False]
    assert not page.find("#theme").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_names_never_run(opened):
    page = opened("evil")
    assert page.find("h1").text == " ".join(EVIL.split())
    assert page.cells("path")[0] == f"{EVIL}/0"
    page.sort("label")
    assert "<img src=x>" in " ".join(page.cells("label"))
    assert page.run("return document.querySelectorAll('img[src=x], section script').length") == 0
