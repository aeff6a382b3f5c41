"""The page on methods of one's own: its code runs as it stands, and gives what the page says."""

import re
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytest

import gradlens as gl
from gradlens import extend

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def after_the_page(tmp_path, monkeypatch, no_plugin_stays):
    """What is defined once all of its code has run, in a folder with a checkpoint of digits."""
    monkeypatch.chdir(tmp_path)
    config = gl.TrainConfig(data="digits", arch="digits_cnn:width=4", out="training", epochs=2, eval_every=2)
    gl.train(config, progress=False).checkpoint.rename("digits.pt")
    page = ModuleType("page")
    # Dataclasses look their module up by name.
    monkeypatch.setitem(sys.modules, "page", page)
    for block in BLOCKS:
        exec(compile(block, "extending.md", "exec"), vars(page))
    yield vars(page)
    plt.close("all")


def test_every_kind_of_method_has_an_example():
    decorators = {name for name in extend.__all__ if name.islower()}
    assert decorators == set(re.findall(r"^@(\w+)$", PAGE, re.MULTILINE)) - {"dataclass"}


def test_the_code_runs_and_gives_what_the_page_says(after_the_page, tmp_path):
    names = after_the_page
    model, data, batch, probe = (names[name] for name in ("model", "data", "batch", "probe"))
    shares = names["run"].samples[["border_share", "border_share[width=8]"]].mean()
    assert 0 < shares.iloc[0] < shares.iloc[1] < 1
    assert names["run"].summary["border_share_median"] == names["run"].samples["border_share"].median()
    assert gl.analyze(model, data, ["on_ink"], progress=False).samples["on_ink"].between(0, 1).all()
    assert {"l1", "l1@second_logit"} <= set(names["both"].samples)
    assert probe.edges("laplacian").shape == (8, 1, 32, 32)
    attacked = gl.attack(probe, "brighten", eps=4 / 255)
    assert 0 < (attacked.batch.image - batch.image).abs().max() < 4.001 / 255
    assert gl.corrupt(batch.image, "dim", severity=3).equal((batch.image.double() * 0.7).to(batch.image.dtype))
    assert (tmp_path / "flat" / "last.pt").exists()
    assert 0 <= gl.study("agreement", [model, names["twin"]], data).frame["agrees"].item() < 1
