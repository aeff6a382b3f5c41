"""The report of a run of 50,000 images: its size, how long it takes to make, and how soon it answers in Chromium.

    python benchmarks/report.py [ROUNDS]

The run is made of random numbers with the columns of the standard analyzers, four attacks and the edge blur; its 64
examples have 224² pixels. Times in the page are its own performance marks, counted from the start of loading.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from side_by_side import write

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from report_runs import made_run

from gradlens.report import write_report

IMAGES, EXAMPLES, SIDE = 50_000, 64, 224
PATIENCE = 60
CONDITION = "l1 > 1 and correct"


def main(rounds: int) -> None:
    runs = [made_run(name, IMAGES, EXAMPLES, SIDE, seed) for seed, name in enumerate(("natural", "robust"))]
    # Imports and the first figure are paid once a process.
    with tempfile.TemporaryDirectory() as folder:
        write_report(made_run("small"), Path(folder) / "small.html")
        result = {
            "images": IMAGES,
            "columns": len(runs[0].samples.columns),
            "examples": EXAMPLES,
            "one run": measured(lambda file: write_report(runs[0], file), Path(folder) / "one.html", rounds),
            "two runs compared": measured(lambda file: write_report(runs, file), Path(folder) / "two.html", rounds),
        }
    write("report", result)


def measured(make: Callable[[Path], Path], file: Path, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    make(file)
    seconds = time.perf_counter() - start
    looks = [look(file) for _ in range(rounds)]
    return {
        "MB": file.stat().st_size / 1e6,
        "seconds to make": seconds,
        **{name: {"median": statistics.median(values), "max": max(values)} for name, values in _by_name(looks).items()},
    }


def look(file: Path) -> dict[str, float]:
    """Milliseconds in a browser of its own: until the table answers, to sort it, and to filter it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        browser.get(file.as_uri())
        found = {"ms until interactive": entry(browser, "gradlens-ready", 1)["startTime"]}
        for times, column in enumerate(("l1", "label_name"), 1):
            headings = "[...document.querySelectorAll('#table thead button')]"
            browser.execute_script(f"{headings}.find((b) => b.textContent === arguments[0]).click()", column)
            found[f"ms to sort by {column}"] = entry(browser, "gradlens-sort", times)["duration"]
        browser.execute_script("document.getElementById('condition').value = arguments[0]", CONDITION)
        browser.execute_script("document.getElementById('filters').requestSubmit()")
        found[f"ms to filter by {CONDITION}"] = entry(browser, "gradlens-filter", 2)["duration"]
        return found
    finally:
        browser.quit()


def entry(browser: webdriver.Chrome, name: str, count: int) -> dict[str, float]:
    """The latest of so many performance entries of a name, once there are as many."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = browser.execute_script("return performance.getEntriesByName(arguments[0]).map((e) => e.toJSON())", name)
        if len(found) >= count:
            return found[-1]
        time.sleep(0.02)
    raise TimeoutError(f"{name} did not happen in {PATIENCE} s; the console says {browser.get_log('browser')}")


def _by_name(looks: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [look[name] for look in looks] for name in looks[0]}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
