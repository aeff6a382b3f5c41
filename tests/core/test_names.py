"""Specs, numbers and the suffixes of columns are written and read by one grammar."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from gradlens.core.names import (
    Name,
    as_number,
    as_radius,
    exactly,
    first_sentence,
    first_twice,
    limits,
    parse_spec,
    snake_case,
    split_specs,
    suffix,
    unknown,
    with_limits,
)
from gradlens.core.types import UserError


@dataclass
class Settings:
    objective: str = "loss"
    sigma: float = 1.0
    count: int = 8
    null: bool = True
    size: float | None = None
    _bank: dict = field(default_factory=dict, init=False)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("edge", ("edge", {})),
        ("edge:alpha=1,step=.09", ("edge", {"alpha": "1", "step": ".09"})),
        (" edge : alpha = 1 ,", ("edge", {"alpha": "1"})),
        ("pgd:eps=4/255,norm=l2", ("pgd", {"eps": "4/255", "norm": "l2"})),
        ("edge:where=a:b", ("edge", {"where": "a:b"})),
    ],
)
def test_spec_is_a_name_and_its_parameters(spec, expected):
    assert parse_spec(spec) == expected


def test_parameter_without_a_value_is_refused():
    with pytest.raises(UserError, match="write edge:alpha=VALUE"):
        parse_spec("edge:alpha")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a, b:x=1,y=2 ,c", ["a", "b:x=1,y=2", "c"]),
        ("a:x=1,b:y=2,z=3", ["a:x=1", "b:y=2,z=3"]),
        ("a:x=p:q,y=r:s,b", ["a:x=p:q,y=r:s", "b"]),
        ("", []),
    ],
)
def test_comma_separates_methods_or_parameters(text, expected):
    assert split_specs(text) == expected


@pytest.mark.parametrize(("text", "value"), [("0.1", 0.1), ("4/255", 4 / 255), (".5", 0.5), ("1e-3", 1e-3), ("-2", -2)])
def test_number_may_be_a_fraction(text, value):
    assert as_number(text) == value


@pytest.mark.parametrize("text", ["", "a", "1/2/3", "1/"])
def test_number_must_be_one(text):
    with pytest.raises(ValueError, match="could not convert"):
        as_number(text)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), ""),
        (Settings(objective="margin"), "@margin"),
        (Settings(sigma=2.0), "[sigma=2]"),
        (Settings("margin", sigma=0.7, null=False), "@margin[sigma=0.7,null=False]"),
        ("not a dataclass", ""),
    ],
)
def test_suffix_tells_what_is_not_the_default(settings, expected):
    assert suffix(settings) == expected


def test_suffix_does_not_depend_on_what_was_learnt():
    settings = Settings()
    settings._bank["seen"] = 1
    assert suffix(settings) == ""


@pytest.mark.parametrize(("name", "expected"), [("EdgeConcentration", "edge_concentration"), ("loss", "loss")])
def test_names_are_in_snake_case(name, expected):
    assert snake_case(name) == expected


# --- columns and numbers of a summary


@pytest.mark.parametrize(
    ("text", "stem", "objective", "parameters", "spec"),
    [
        ("l1", "l1", "", "", "l1"),
        ("edge@margin", "edge", "margin", "", "edge:objective=margin"),
        ("edge[sigma=2]", "edge", "", "sigma=2", "edge:sigma=2"),
        (
            *("edge@margin[sigma=2,null=False]", "edge", "margin", "sigma=2,null=False"),
            "edge:objective=margin,sigma=2,null=False",
        ),
    ],
)
def test_a_name_is_a_stem_an_objective_and_parameters(text, stem, objective, parameters, spec):
    name = Name.parse(text)
    assert (name.stem, name.objective, name.parameters, name.spec) == (stem, objective, parameters, spec)
    assert str(name) == text


def test_limits_stand_before_the_tail_and_are_found_again():
    summary = with_limits("l1_mean@margin[sigma=2]", (3.0, 1.0, 7.0))
    assert list(summary) == [f"l1_mean{end}@margin[sigma=2]" for end in ("", "_low", "_high")]
    assert limits(summary, "l1_mean@margin[sigma=2]") == (1.0, 7.0)
    assert np.isnan(limits({"top1": 3.0, "top1_low": 1.0}, "top1")).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (4 / 255, "4/255"), (2.0, "2"), (0.123456789, "0.123456789"), (float("nan"), "nan")],
)
def test_a_number_is_written_so_that_it_reads_back(value, text):
    assert exactly(value) == text
    assert np.array_equal(as_number(text), value, equal_nan=True)


@pytest.mark.parametrize(
    ("eps", "text"), [(4 / 255, "4/255"), (0.0157, "0.0157"), (0.5, "0.5"), (0.0, "0"), (1.0, "1"), (3.0, "3")]
)
def test_a_radius_is_in_steps_of_eight_bits_where_it_is_one(eps, text):
    assert as_radius(eps) == text


def test_an_unknown_name_is_told_what_there_is():
    assert unknown("layer", "cnv1", ["conv1", "fc"]) == "unknown layer 'cnv1'; did you mean conv1?"
    assert unknown("layer", "zzz", ["b", "a"], "or none") == "unknown layer 'zzz'; there are: a, b or none"
    assert "… (30 in all)" in unknown("class", "zzz", [f"c{i}" for i in range(30)])


def test_the_first_name_that_comes_twice_is_found():
    assert first_twice(["a", "b", "b", "a"]) == "b"
    assert first_twice(["a", "b"]) is None


def test_a_first_sentence_is_one_line_without_marks():
    assert first_sentence("What ``x`` is\n  and does.\n\nMore.") == "What x is and does"
    assert first_sentence(None) == ""
