"""What the committed analyses found, read back from their results."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "analyses" / "results"


@pytest.fixture(scope="module")
def edge_controls():
    return json.loads((RESULTS / "edge_controls.json").read_text())


@pytest.mark.parametrize(("data", "control"), [("shapes", "random"), ("shapes", "shuffled"), ("photos", "random")])
def test_a_trained_network_is_told_from_its_twin_by_the_primary_edge_measure(data, control, edge_controls):
    differences = edge_controls[data]["differences over seeds, 95 % t-intervals"]
    assert differences[f"trained - {control}, edge_partial_contour"]["low"] > 0
    assert len(edge_controls[data]["seeds"]["trained"]) == 5


def test_differences_follow_from_the_seeds(edge_controls):
    for data in ("shapes", "photos"):
        seeds = edge_controls[data]["seeds"]
        for control in ("random", "shuffled"):
            pairs = zip(seeds["trained"], seeds[control], strict=True)
            mean = sum(a["edge_partial_contour"] - b["edge_partial_contour"] for a, b in pairs) / 5
            named = edge_controls[data]["differences over seeds, 95 % t-intervals"]
            assert named[f"trained - {control}, edge_partial_contour"]["mean"] == pytest.approx(mean)
