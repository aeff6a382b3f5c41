"""What the user states wins, what a file states comes next, and a default is said."""

import pytest
from refusals import refused

from gradlens.core.stated import Rank, by_default, by_file, by_user, inferred, settled


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([by_default(224, "resnet50's own"), by_file(160, "args.input_size"), by_user(64, "--img-size")], 64),
        ([by_default(224, "resnet50's own"), by_file(160, "args.input_size")], 160),
        ([by_default(224, "resnet50's own"), None], 224),
        ([by_file(None, "args.input_size"), by_default(224, "resnet50's own")], 224),
        ([by_user(0, "--seed"), by_default(3, "")], 0),
    ],
)
def test_the_strongest_statement_counts(candidates, expected):
    for order in (candidates, candidates[::-1]):
        assert settled("img_size", *order).value == expected


def test_nobody_says_anything():
    assert settled("img_size", None, by_file(None, "args")) is None


def test_a_file_cannot_mean_two_things_and_the_user_may_decide():
    two = (by_file(160, "args.input_size"), by_file(224, "args.img_size"))
    with refused("two statements of img_size", "160 (args.input_size)", "224 (args.img_size)", "--img-size"):
        settled("img_size", *two)
    assert settled("img_size", *two, by_user(192)).value == 192
    assert settled("img_size", two[0], by_file(160, "args.img_size")).value == 160


def test_only_what_nobody_stated_is_said_together_by_its_source():
    stated = {
        "img_size": by_default(224, "resnet50's own"),
        "crop_pct": by_default(0.875, "resnet50's own"),
        "mean": by_file((0.5, 0.5, 0.5), "args"),
        "weights": by_user("ema"),
        "split": by_default("val", ""),
    }
    assert inferred(stated) == "img size 224, crop pct 0.875 (resnet50's own); split val"
    assert inferred({"weights": by_user("raw")}) == ""


def test_a_file_can_keep_it():
    assert by_file((0.5, 0.5), "args").as_json() == {"value": (0.5, 0.5), "by": "file", "where": "args"}
    assert [rank.name for rank in sorted(Rank)] == ["USER", "FILE", "DEFAULT"]
