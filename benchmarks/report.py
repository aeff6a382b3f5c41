"""The report of a run of 50,000 images: its size, how long it takes to make, to open and to sort in Chromium.

    python benchmarks/report.py [ROUNDS]

The run is made of random numbers with the columns of the standard analyzers, four attacks and the edge blur; its 64
examples have 224² pixels. Sorting is timed until the browser has laid the page out again.
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
SORT = """
    const headings = [...document.querySelectorAll(".images thead button")];
    const heading = headings.find((button) => button.textContent === arguments[0]);
    const start = performance.now();
    heading.click();
    document.body.getBoundingClientRect();
    return performance.now() - start;
"""


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
    """Milliseconds in a browser of its own: until the page is loaded, and to sort its first table."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        browser.get(file.as_uri())
        loaded = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        times = {f"ms to sort by {name}": browser.execute_script(SORT, name) for name in ("l1", "label")}
        return {"ms until loaded": loaded, **times}
    finally:
        browser.quit()


def _by_name(looks: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [look[name] for look in looks] for name in looks[0]}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
