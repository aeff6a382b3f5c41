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


@pytest.fixture(scope="module")
def edge_claim():
    return json.loads((RESULTS / "edge_claim.json").read_text())


PAIRS = [(data, other) for data in ("shapes", "photos") for other in ("natural", "gradnorm", "fgsm")]
SHORT = pytest.mark.xfail(reason="the lower limit is 0.093 at equal robustness, the mean 0.17", strict=True)


@pytest.mark.parametrize(("data", "other"), PAIRS)
def test_edges_come_with_robustness_and_beyond_what_robustness_brings(data, other, edge_claim):
    gap = edge_claim[data]["both minus the others, paired by seed"][other]["edge_partial_contour"]
    assert gap["mean"] > 0.1
    assert gap["low"] > 0
    # As robust as who is compared with, within a tenth, or more.
    means = {recipe: found["mean minimal eps"] for recipe, found in _over_seeds(edge_claim, data).items()}
    assert means["both"]["mean"] > 0.9 * means[other]["mean"]
    assert means["both"]["low"] > means["natural"]["high"]


@pytest.mark.parametrize(
    ("data", "other"), [pytest.param(*p, marks=SHORT if p == ("shapes", "gradnorm") else ()) for p in PAIRS]
)
def test_the_difference_in_edges_is_surely_a_tenth(data, other, edge_claim):
    gaps = edge_claim[data]["both minus the others, paired by seed"]
    assert gaps[other]["edge_partial_contour"]["low"] > 0.1


def _over_seeds(edge_claim, data):
    return edge_claim[data]["over seeds, 95 % t-intervals"]


def test_shapes_are_learnt(edge_claim):
    found = _over_seeds(edge_claim, "shapes")
    assert all(found[recipe]["clean"]["mean"] > 80 for recipe in found)
    assert found["both"]["clean"]["mean"] > found["gradnorm"]["clean"]["mean"] - 5


@pytest.mark.parametrize("data", ["shapes", "photos"])
def test_no_sign_of_masking_in_the_edge_claim(data, edge_claim):
    """FGSM alone on photos has one, weakly: in 1.1 % of the images Square is the only one to break it."""
    seeds = edge_claim[data]["seeds"]
    assert all(len(rows) == 5 for rows in seeds.values())
    assert max(row["accuracy at eps 0.5"] for rows in seeds.values() for row in rows) == 0
    for recipe in seeds.keys() - ({"fgsm"} if data == "photos" else set()):
        assert sum(row["only Square breaks (%)"] for row in seeds[recipe]) / 5 <= 1


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
