"""Recompute what README and docs quote from committed results, and whether what they claim still follows.

    python analyses/check.py

A quote is a text with its numbers formatted from JSON, which has to stand on its page; a number of a page of
results that no quote covers is found too. Means and intervals over seeds are computed from the seeds' own rows.
Prints what is broken and exits with 1, or says how much holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from _costs import costs, on_gpu, steps
from _findings import activations, controls, digits, edges, selectivity
from _quotes import CLAIMS, COSTS, README, ROOT, Claim, Quote

# Sizes, names and conditions that are not results: code, pictures, years, and what is named after a number.
NO_RESULT = r"```.*?```|`[^`]*`|\]\([^)]*\)|95 %|\(20\d\d\)|224²|\b(?:ResNet|PGD)-\d+|H200|(?:float|TF)(?:32|64)"
PARTS = (digits, activations, edges, controls, selectivity, costs, steps, on_gpu)


def text_of(page: str) -> str:
    """A page on one line; of the README what stands below training."""
    text = (ROOT / page).read_text()
    if page == README:
        text = text.partition("## Train against it")[2].partition("\n## ")[0]
    return " ".join(text.split())


def broken() -> list[str]:
    """What does not hold, a line each."""
    found = [item for part in PARTS for item in part()]
    quotes, claims = ([item for item in found if isinstance(item, kind)] for kind in (Quote, Claim))
    pages = {page: text_of(page) for page in (README, CLAIMS, COSTS)}
    lost = [f"{quote.page} does not say: {quote.text}" for quote in quotes if quote.text not in pages[quote.page]]
    return [
        *lost,
        *(f"does not follow from the results: {claim.says}" for claim in claims if not claim.holds),
        *(f"{page} has a number that no result gives: … {rest}" for page in pages for rest in unquoted(page, quotes)),
    ]


def unquoted(page: str, quotes: Sequence[Quote]) -> list[str]:
    """Numbers of a page beside its quotes, each with what stands around it."""
    text = text_of(page)
    for quote in sorted((q.text for q in quotes if q.page == page), key=len, reverse=True):
        text = text.replace(quote, "")
    text = re.sub(NO_RESULT, "", text, flags=re.DOTALL)
    return [text[max(0, at.start() - 30) : at.end() + 30] for at in re.finditer(r"\d[\d.,]*", text)]


if __name__ == "__main__":
    wrong = broken()
    print("\n".join(wrong) or f"{sum(1 for part in PARTS for _ in part())} quotes and claims hold")
    sys.exit(bool(wrong))
