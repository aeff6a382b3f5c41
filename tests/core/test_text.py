"""Text from files is text wherever it is written: no escape, no further line, no markup, no formula, no path."""

import html

import pandas as pd
import pytest

from gradlens import UserError
from gradlens.core import text

EVIL = "a\x1b[31mb\nc\u202ed\x9be\udc80\u2028f"


@pytest.mark.parametrize("write", [text.one_line, text.markup, text.page, text.markdown, text.code, text.latex])
def test_nothing_steers_a_terminal_or_makes_a_line(write):
    assert write(EVIL).isprintable()
    assert write(write(EVIL)).isprintable()


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(UserError(EVIL)).isprintable()


@pytest.mark.parametrize("given", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1"])
def test_no_cell_is_a_formula_and_numbers_stay(given):
    assert text.cell(given).startswith("'")
    assert text.cell(-1.5) == -1.5
    assert text.csv(pd.DataFrame({"=a": [-1.5], "b": ["x"]})) == "'=a,b\n-1.5,x\n"


@pytest.mark.parametrize("given", ["[a](b)", "__b__", "~~s~~", "<i>", "$x$", "- x", "# x", "1. x", "&lt;", "`c`"])
def test_markdown_is_escaped(given):
    assert "\\" in text.markdown(given)


def test_pages_and_the_screen_show_markup_as_it_stands():
    from rich.text import Text

    assert html.unescape(text.page("<b x='y'>&")) == "<b x='y'>&"
    assert Text.from_markup(text.markup("[red]x[/red]")).plain == "[red]x[/red]"


@pytest.mark.parametrize("given", ["", ".", "..", "a/b", "a\\b", "a\0", "\x1b", " a", "a.", "x" * 300, "C:a"])
def test_what_is_no_name_of_a_folder(given):
    assert not text.is_name(given)


@pytest.mark.parametrize("given", ["natural", "ResNet-50 (EdgeReg, α=1)", "v1.2", ".hidden"][:3])
def test_what_is_one(given):
    assert text.is_name(given)
