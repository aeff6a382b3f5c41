"""What holds of every registered figure: files, fonts, widths, captions, given axes, no torch, no side effects."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import zlib

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from drawables import given as suited
from drawables import handed_over, is_seen, write
from matplotlib.figure import Figure
from synthetic import models

from gradlens import Run, UserError
from gradlens.core.registry import figure as figures
from gradlens.plotting import VENUES, caption, draw, numbers, save

FEW = re.compile(r"two|three|several|at least|needs")
DRAWN: dict[str, Figure] = {}


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def drawn(name: str) -> Figure:
    """A figure of two models in a column of CVPR, drawn once."""
    if name not in DRAWN:
        DRAWN[name] = draw(name, suited(name, 2), venue="cvpr", columns=1)
    return DRAWN[name]


def refusal(name: str, given: list) -> str:
    """What a figure says of runs that it does not draw."""
    try:
        assert draw(name, given).axes
    except UserError as error:
        return str(error)
    return ""


def decoded(pdf: bytes) -> bytes:
    """A PDF with its streams unpacked, where newer writers may keep fonts."""
    packed = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    found = [pdf]
    for stream in packed:
        try:
            found.append(zlib.decompressobj().decompress(stream))
        except zlib.error:
            continue
    return b"\n".join(found)


@pytest.mark.parametrize("name", figures)
def test_a_figure_leaves_no_trace(name):
    before = dict(mpl.rcParams)
    assert isinstance(drawn(name), Figure)
    assert drawn(name).axes
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", figures)
def test_a_figure_draws_one_model_or_says_that_it_wants_more(name):
    said = refusal(name, suited(name, 1))
    assert not said or FEW.search(said), said


@pytest.mark.slow
@pytest.mark.parametrize("name", figures)
def test_a_figure_draws_many_models(name):
    assert not refusal(name, suited(name, 9))


@pytest.mark.parametrize("name", figures)
def test_a_pdf_has_the_venues_width_type_42_fonts_and_the_runs_hashes(name, tmp_path):
    given = suited(name, 2)
    content = save(drawn(name), tmp_path / "figure.pdf", given).read_bytes()
    assert len(content) < 2e6
    width = float(re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", content).group(1)) / 72
    assert width == pytest.approx(VENUES["cvpr"][0], abs=0.01)
    plain = decoded(content)
    assert not re.search(rb"/Subtype\s*/Type3", plain)
    assert b"/Type42" in plain or b"/CIDFontType2" in plain
    for run in given:
        assert content.count(run.hash.encode()) >= 2, "in Subject and Keywords"


@pytest.mark.slow
@pytest.mark.parametrize("name", figures)
def test_the_same_runs_give_the_same_file(name, tmp_path):
    again = draw(name, suited(name, 2), venue="cvpr", columns=1)
    first, second = (save(f, tmp_path / f"{k}.pdf") for k, f in enumerate((drawn(name), again)))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_a_gallery_is_the_same_file_in_every_format_each_time(suffix, runs, tmp_path):
    figure = draw("gradient_gallery", runs)
    save(figure, tmp_path / "written_before.png")
    first, second = (
        save(f, tmp_path / f"{f is figure}.{suffix}", runs) for f in (figure, draw("gradient_gallery", runs))
    )
    assert first.read_bytes() == second.read_bytes()
    assert runs[0].hash.encode() in first.read_bytes()


@pytest.mark.parametrize("name", figures)
def test_a_caption_names_models_data_and_notes(name):
    text = caption(drawn(name), suited(name, 2))
    assert text.endswith(".")
    assert "``" not in text
    assert all(run.label in text for run in suited(name, 2))
    assert re.search(r"\b[Nn]( =|:) ", text), "a figure states n"


@pytest.mark.parametrize("name", figures)
def test_the_numbers_handed_over_are_those_on_the_axes(name):
    figure = drawn(name)
    table = numbers(figure)
    assert len(table)
    assert table[["x", "y", "text"]].notna().any(axis=1).all()
    unseen = [row for ax in figure.axes for row in handed_over(ax) if not is_seen(ax, row)]
    assert unseen == []


@pytest.mark.parametrize("name", figures)
def test_logarithmic_axes_have_labels(name):
    figure = drawn(name)
    figure.canvas.draw()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [t for t in axis.get_major_ticks() + axis.get_minor_ticks() if t.label1.get_visible()]
            low, high = sorted(axis.get_view_interval())
            if axis.get_scale() == "log" and ticks and ax.get_visible():
                shown = [t for t in ticks if t.label1.get_text() and low <= t.get_loc() <= high]
                assert len(shown) >= 2, (ax.get_title(), axis.axis_name)


@pytest.mark.parametrize("name", figures)
def test_given_axes_are_drawn_into_or_refused(name):
    own = Figure()
    ax, other = own.subplots(1, 2)
    own.supxlabel("mine")
    if "ax" not in inspect.signature(figures[name]).parameters:
        with pytest.raises(UserError, match="takes no ax"):
            draw(name, suited(name, 1), ax=ax)
        return
    if FEW.search(refusal(name, suited(name, 1))):
        return
    assert draw(name, suited(name, 1), ax=ax) is own
    assert ax.has_data()
    assert not other.has_data()
    assert own.get_supxlabel() == "mine", "a figure of the caller's keeps its own texts"


@pytest.mark.parametrize("name", figures)
def test_no_figure_has_an_option_that_draw_takes_itself(name):
    own = set(inspect.signature(figures[name]).parameters) - {"ax"}
    assert not own & set(inspect.signature(draw).parameters) - {"runs"}


@pytest.mark.slow
def test_figures_are_drawn_where_torch_cannot_be_imported(tmp_path):
    for name in figures:
        for drawable in suited(name, 3):
            write(drawable, tmp_path / name)
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'timm', 'torchvision'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from pathlib import Path\nfrom gradlens.core.registry import figure\nfrom gradlens.cli.main import main\n"
        "for name in figure:\n"
        "    folders = sorted(map(str, Path(name).iterdir()))\n"
        "    assert main(['figure', name, *folders, '-o', f'{name}.svg']) == 0, name\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f.stem for f in tmp_path.glob("*.svg")} == set(figures)
