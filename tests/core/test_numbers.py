"""Numbers are rounded to what a reader can use."""

import math

import pytest

from gradlens.core.numbers import amount, decimals_for, number


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.123456, None, "0.1235"),
        (71234.0, None, "7.123e+04"),
        (-2.5, None, "−2.5"),
        (2.345, 1, "2.3"),
        (-0.04, 1, "0.0"),
        (None, None, "–"),
        (math.nan, 2, "–"),
        (math.inf, None, "–"),
    ],
)
def test_a_number_has_four_digits_or_so_many_decimals(value, decimals, text):
    assert number(value, decimals) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (98_300_000, "98.3 MB"), (5e15, "5e+03 TB")]
)
def test_an_amount_has_three_digits_and_a_unit(count, text):
    assert amount(count) == text


@pytest.mark.parametrize(
    ("uncertainty", "decimals"), [(123.0, 0), (1.2, 1), (0.012, 3), (1e-9, None), (0.0, None), (math.nan, None)]
)
def test_decimals_show_two_digits_of_the_uncertainty(uncertainty, decimals):
    assert decimals_for(uncertainty) == decimals
