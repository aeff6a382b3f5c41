"""What the committed analyses found, read back from their results."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "analyses" / "results"


@pytest.fixture(scope="module")
def edge_controls():
    return json.loads((RESULTS / "edge_controls.json").read_text())


@pytest.mark.parametrize("data", ["shapes", "photos"])
@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_a_trained_network_is_told_from_its_twin_by_the_primary_edge_measure(data, control, edge_controls):
    differences = edge_controls[data]["differences over seeds, 95 % t-intervals"]
    found = differences[f"trained - {control}, edge_partial_contour"]
    # On photos the network of shuffled labels is the one on edges.
    assert found["high"] < 0 if (data, control) == ("photos", "shuffled") else found["low"] > 0
    assert len(edge_controls[data]["seeds"]["trained"]) == 5


def test_differences_follow_from_the_seeds(edge_controls):
    for data in ("shapes", "photos"):
        seeds = edge_controls[data]["seeds"]
        for control in ("random", "shuffled"):
            pairs = zip(seeds["trained"], seeds[control], strict=True)
            mean = sum(a["edge_partial_contour"] - b["edge_partial_contour"] for a, b in pairs) / 5
            named = edge_controls[data]["differences over seeds, 95 % t-intervals"]
            assert named[f"trained - {control}, edge_partial_contour"]["mean"] == pytest.approx(mean)


@pytest.fixture(scope="module")
def digits():
    return json.loads((RESULTS / "digits_robustness.json").read_text())


@pytest.mark.parametrize(("recipe", "times", "clean"), [("edge", 3, 92), ("gradnorm", 4, 97)])
def test_penalties_carry_far_on_digits(recipe, times, clean, digits):
    found = digits["over seeds, 95 % t-intervals"][recipe]
    assert found["times natural"]["mean"] >= times
    assert found["clean"]["mean"] >= clean
    for natural, own in zip(digits["seeds"]["natural"], digits["seeds"][recipe], strict=True):
        assert own["mean minimal eps"] > 2 * natural["mean minimal eps"]


def test_no_sign_of_masking_on_digits(digits):
    for rows in digits["seeds"].values():
        assert len(rows) == 5
        assert max(row["accuracy at eps 0.5"] for row in rows) == 0
        assert max(row["only Square breaks (%)"] for row in rows) <= 1


def test_edges_and_robustness_go_together_with_the_saliency_form():
    found = json.loads((RESULTS / "edge_claim.json").read_text())
    for data in ("shapes", "photos"):
        gaps = found[data]["both minus the others, paired by seed"]
        for other in ("natural", "gradnorm"):
            assert gaps[other]["edge_partial_contour"]["low"] > 0.1
        assert gaps["natural"]["mean minimal eps"]["low"] > 0


def test_the_activations_difference_follows_from_the_seeds():
    found = json.loads((RESULTS / "gradnorm_activations.json").read_text())
    gelu, relu = (found[name]["seeds"] for name in ("gelu", "relu"))
    assert len(gelu) == len(relu) == 5
    gaps = [a["mean minimal eps"] - b["mean minimal eps"] for a, b in zip(gelu, relu, strict=True)]
    stated = found["GELU - ReLU over seeds, 95 % t-intervals"]["mean minimal eps"]
    assert stated["mean"] == pytest.approx(sum(gaps) / 5)
    assert stated["low"] < stated["mean"] < stated["high"]
    for name in ("gelu", "relu"):
        scores = found[name]["val accuracy under PGD-10"]
        best = max(scores, key=scores.get)
        assert {k: float(v) for k, v in (part.split("=") for part in best.split(", "))} == found[name]["best"]
