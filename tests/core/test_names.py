"""Specs, numbers and the suffixes of columns are written and read by one grammar."""

from dataclasses import dataclass, field

import pytest

from gradlens.core.names import as_number, parse_spec, snake_case, split_specs, suffix
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
