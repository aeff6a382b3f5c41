"""What a table lacks is said by the title under which a reader looks for it, with all that it stands below."""

import pandas as pd

from gradlens.runs.readings import warnings
from gradlens.runs.record import Run


def test_what_is_missing_is_named_by_what_it_stands_below():
    rows = [
        ("L1 norm, mean", "l1", ""),
        ("   Gini", "gini", ""),
        ("      of 200 images", "few", ""),
        ("AUC", "auc", ""),
    ]
    missing = {"few": "fewer than 200 images", "auc": "no wrong image", "gini": "no wrong image"}
    provenance = {"readings": rows, "missing": missing}
    run = Run(pd.DataFrame({"index": [0]}), {"model": "m", "images": 1, "top1": 50.0, "l1": 2.0}, {}, provenance)
    said = warnings(run)
    assert "no L1 norm, mean (Gini of 200 images): fewer than 200 images" in said
    assert "no L1 norm, mean (Gini) · AUC: no wrong image" in said
