"""A run is a small page with thumbnails, in which nothing runs."""

import re

import numpy as np
from drawn import picture_in
from PIL import Image

import gradlens as gl
from gradlens import Run

# --- what is shown


def test_a_run_is_a_small_page_with_thumbnails(run, plain):
    page = run._repr_html_()
    assert len(page) < 100_000
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    sheet = picture_in(page)
    assert sheet.shape == (2 * 66, 4 * 66, 3)
    first = np.asarray(
        Image.fromarray((run.examples["image"][0].transpose(1, 2, 0) * 255).astype(np.uint8)).resize((64, 64))
    )
    assert np.corrcoef(sheet[:64, :64].ravel(), first.ravel())[0, 1] > 0.97
    assert run.table().printed["value"].iloc[0].startswith(f"{run.summary['top1']:.0f}")
    assert run.table().printed["value"].iloc[0] in page
    noisy = gl.Run(
        run.samples,
        run.summary,
        examples={
            "index": np.arange(8),
            "scale": np.ones(8),
            "image": np.random.rand(8, 3, 224, 224),
            "gradient": np.random.randn(8, 3, 224, 224),
        },
    )
    assert 1000 < len(noisy._repr_html_()) < 100_000
    kept = run.examples["index"].tolist()
    chosen = run.select(f"index in {[kept[2], kept[1], 7]}")
    assert f"{len(chosen.samples)} of 60 images" in chosen._repr_html_()
    assert f"{len(chosen.samples)} of 60 images, of all top1=" in repr(chosen)
    part = picture_in(chosen._repr_html_())
    order = [i for i in chosen.samples["index"] if i in kept]
    assert part.shape == (2 * 66, len(order) * 66, 3)
    place = kept.index(order[0]) * 66
    np.testing.assert_allclose(part[:60, :60], sheet[:60, place : place + 60], atol=0.1)
    bare = gl.Run(run.samples, {**run.summary, "model": "<script>"})._repr_html_()
    assert "<script>" not in bare
    assert "<img" not in bare


def test_a_run_shows_itself_in_a_notebook_briefly_and_escaped(baseline):
    baseline_named = Run(baseline.samples, {**baseline.summary, "model": "<script>"})
    page = baseline_named._repr_html_()
    assert len(page) < 100_000
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "60 images" in repr(baseline)
