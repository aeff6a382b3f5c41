"""Text that comes from files, made inert for where it is written: a function for each place, and none elsewhere.

A class, a label, a key of a state dict, a path or a member of a tar may hold anything. Shown, it is those
characters and nothing else: no escape sequence, no further line, no markup, no formula and no path.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

# What changes the order in which a line is read: Unicode's bidirectional controls.
BIDI = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# What GitHub's Markdown reads as markup wherever it stands.
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*|<~$"})
# What it reads as such where it stands so: emphasis by _, an entity, the end of a link's text, the start of a block.
MARKED = re.compile(r"(?<!\w)_|_(?!\w)|&(?=#?\w+;)|\](?=[\[(:])|^[-+#>=](?=[-+#>=\s]|$)|(?<=^\d)[.)](?=\s|$)")
GREEK = "αβγδεζηθκλμνξπρστφχψωΓΔΘΣΦΩ"
NAMES = (
    "alpha beta gamma delta varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau varphi chi psi omega "
    "Gamma Delta Theta Sigma Phi Omega"
)
# What would otherwise be markup, and what pdfLaTeX does not typeset as it stands.
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {c: f"${c}$" for c in "<>|"}
    | {c: f"$\\{name}$" for c, name in zip(GREEK, NAMES.split(), strict=True)}
    | {c: f"$^{{{k}}}$" for k, c in zip("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", strict=True)}
    | {c: f"$_{{{k}}}$" for k, c in enumerate("₀₁₂₃₄₅₆₇₈₉")}
    | {"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "÷": r"$\div$", "·": r"$\cdot$", "→": r"$\to$"}
    | {"≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "√": r"$\surd$"}
    | {"‖": r"$\Vert$", "∂": r"$\partial$", "∇": r"$\nabla$", "°": r"$^\circ$", "½": "$1/2$"}
    | {"–": "--", "…": r"\ldots{}", "’": "'", "“": "``", "”": "''", "\u2003": r"\quad{}"}
)
# What a spreadsheet runs where a cell begins with it, also in the full width of Chinese and Japanese.
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
LONGEST_NAME = 200
# What some system takes in no name of a file.
UNFIT = re.compile(r'[/\\:*?"<>|]')


def visible(text: object) -> str:
    """Control characters, bidirectional ones and lone surrogates as their escapes; lines stay lines."""
    return "".join(_escaped(c) if c not in "\n\t" else c for c in str(text))


def one_line(text: object) -> str:
    """As ``visible``, and each break of a line or tab is a space: for errors, the screen and labels."""
    return visible(BREAKS.sub(" ", str(text)).replace("\t", " "))


def markup(text: object) -> str:
    """For a line that holds rich's own markup, where ``[red]`` is to be five characters."""
    from rich.markup import escape

    return escape(one_line(text))


def page(text: object) -> str:
    """For HTML, in a text or an attribute's value."""
    return html.escape(one_line(text))


def markdown(text: object) -> str:
    """For a cell, a list item or a line of Markdown as GitHub reads it."""
    return re.sub(MARKED, r"\\\g<0>", one_line(text).translate(MARKDOWN))


def code(text: object) -> str:
    """For Markdown's fixed width, in which a backtick ends it, and | even there the cell."""
    return f"`{one_line(text).replace('|', chr(92) + '|').replace('`', chr(39))}`"


def latex(text: object) -> str:
    """For the text of a LaTeX document."""
    return one_line(text).translate(LATEX)


def cell(value: Any) -> Any:
    """For CSV: a text that a spreadsheet would run gets a leading '; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    return f"'{one_line(value)}" if FORMULA.match(value) else one_line(value)


def csv(frame: Any) -> str:
    """A table of pandas, a row a line."""
    return frame.map(cell).rename(columns=cell).to_csv(index=False)


def is_name(text: str) -> bool:
    """Whether it names one file or folder, right below where it is looked for, on every system."""
    plain = one_line(text) == text and not UNFIT.search(text)
    return plain and text.strip(". ") == text.strip(" ") == text != "" and len(text.encode()) <= LONGEST_NAME


def _escaped(char: str) -> str:
    odd = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI
    return char.encode("unicode_escape").decode() if odd else char
