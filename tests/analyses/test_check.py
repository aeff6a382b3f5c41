"""Every number that README and docs quote is the committed results', and what they claim follows from the seeds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = ("README.md", "docs/*.md", "analyses/*.py", "analyses/results/*.json", "benchmarks/results/*.json")


def said(root):
    done = subprocess.run([sys.executable, root / "analyses/check.py"], capture_output=True, text=True)
    assert done.returncode == ("hold" not in done.stdout.splitlines()[-1]), done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """What the script reads, to be spoilt."""
    for file in (file for pattern in READ for file in ROOT.glob(pattern)):
        place = tmp_path / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return tmp_path


def test_pages_and_claims_hold():
    assert said(ROOT).endswith("quotes and claims hold\n")


@pytest.mark.parametrize(
    ("page", "before", "after", "told"),
    [
        ("README.md", "3.1 ± 0.3", "3.2 ± 0.3", "README.md does not say: 3.1 ± 0.3 times the natural"),
        (
            "docs/claims.md",
            "| EdgeReg | 0.079 |",
            "| EdgeReg | 0.078 |",
            "docs/claims.md does not say: | EdgeReg | 0.0",
        ),
        ("docs/costs.md", "265 ms", "256 ms", "docs/costs.md does not say: takes 265 ms"),
        (
            "docs/costs.md",
            "**Memory**",
            "In 7 of 9 cases **memory**",
            "docs/costs.md has a number that no result gives",
        ),
    ],
)
def test_a_wrong_or_unfounded_number_on_a_page_is_found(copy, page, before, after, told):
    text = (copy / page).read_text()
    assert before in text
    (copy / page).write_text(text.replace(before, after))
    assert told in said(copy)


def test_a_result_that_bears_a_claim_no_more_is_found(copy):
    file = copy / "analyses/results/edge_claim.json"
    found = json.loads(file.read_text())
    for row in found["photos"]["seeds"]["both"]:
        row["edge_partial_contour"] -= 0.1
        row["accuracy at eps 0.5"] = 3.0
    file.write_text(json.dumps(found))
    told = said(copy)
    assert "does not follow from the results: photos: edges beyond gradnorm, by a tenth on average" in told
    assert "does not follow from the results: photos: no accuracy is left at ε = 0.5" in told
    assert "does not follow from the results: photos: edges beyond gradnorm follows from the seeds" in told
    assert "docs/claims.md does not say: | photos, a small CNN | partial correlation |" in told
