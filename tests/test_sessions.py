"""A Python session: from a row to the image, its probe, an edit and back to a row, in bounded memory."""

from __future__ import annotations

import base64
import copy
import gc
import inspect
import io
import json
import re
import shutil
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analyzers import choose_analyzers, name_of
from gradlens.core import memory, notebook, progress
from gradlens.core.names import Name
from gradlens.core.registry import analyzer as analyzers
from gradlens.core.registry import figure as figures
from gradlens.data._pixels import Arrays
from gradlens.probes import opening
from gradlens.runs.readings import table_of

QUIET = {"progress": False, "limit": 60, "batch_size": 16}


def plain_net():
    """No BatchNorm, so nothing is folded for a run and a probe computes the very same."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Conv2d(8, 8, 3, stride=2), nn.GELU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10))


@pytest.fixture(scope="module")
def plain():
    return gl.load_model(plain_net(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), device="cpu")


@pytest.fixture(scope="module")
def run(plain):
    """Measured image by image; four gradients are kept."""
    return gl.analyze(plain, "digits", examples=4, progress=False, limit=60, batch_size=1)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return run.save(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def look(run):
    """At the image in the run's sixth row."""
    return run.probe(int(run.samples["index"][5]))


def row_of(run, look):
    rows = run.samples[run.samples["index"] == int(look.batch.index)]
    return rows.drop(columns="path").reset_index(drop=True)


def off_by(found, expected):
    """The largest relative error of an image's gradient."""
    return float(((found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)).max())


def titles(drawn):
    return [ax.get_title() for ax in drawn.axes if ax.get_title()]


def shown(ax):
    return np.asarray(ax.images[0].get_array(), np.float64)


# --- from a row to the image


def test_the_largest_are_shown_with_their_gradients_and_numbers(run, plain):
    top = run.top("l1", 6, where="index >= 0")
    drawn = top.show()
    assert isinstance(drawn, Figure)
    pairs = list(zip(drawn.axes[:6], drawn.axes[6:], strict=True))
    for (above, below), (_, row) in zip(pairs, top.samples.iterrows(), strict=True):
        batch = gl.load_data("digits").batch([row["index"]])
        np.testing.assert_allclose(shown(above), batch.image[0].permute(1, 2, 0), atol=1e-3)
        gradient = gl.input_gradient(plain, batch.image, batch.target)[0].permute(1, 2, 0).double().numpy()
        limit = np.quantile(np.abs(gradient), 0.99)
        np.testing.assert_allclose(shown(below), np.clip(0.5 + 0.5 * gradient / limit, 0, 1), atol=2e-3)
        wrong = "" if row["label"] == row["prediction"] else f" → {row['prediction']}"
        assert above.get_title() == f"{row['label']}{wrong}"
        assert below.get_title() == f"l1 {row['l1']:.4g}"
        assert [t.get_text() for t in above.texts] == [str(row["index"])]


def test_kept_images_are_shown_without_the_model(folder, monkeypatch):
    loaded = gl.Run.load(folder)
    kept = loaded.select(f"index in {loaded.examples['index'].tolist()}")
    assert len(titles(kept.show())) == 8
    with refused("model was given as an object", "run.model"):
        loaded.show(60)
    with refused("unknown column 'l11'", "l1"):
        loaded.show(column="l11")
    with refused("no image", "another condition"):
        loaded.select("l1 < 0").show()


def test_a_run_shows_the_column_it_was_ranked_by(run):
    assert titles(run.top("loss", 2).show())[2:] == [f"loss {v:.4g}" for v in run.top("loss", 2).samples["loss"]]
    assert titles(run.top("loss", 1).show(column="margin"))[1].startswith("margin ")
    assert len(titles(run.show(11))) == 22


def test_several_images_are_probed_at_once(run):
    indices = run.samples["index"][[7, 3]].tolist()
    together = run.probe(indices)
    assert together.batch.index.tolist() == indices
    assert off_by(together.gradient()[1:], run.probe(indices[1]).gradient()) < 1e-5
    assert isinstance(run.probe(np.int64(indices[0])), gl.Probe)


def test_an_image_that_changed_since_is_not_taken_for_the_one_measured(run):
    moved = copy.copy(run)
    moved.samples = run.samples.assign(path=run.samples["path"].to_numpy()[::-1])
    with refused("the data changed", "run.data"):
        moved.probe(int(run.samples["index"][5]))


# --- an edit, and back to a row


def test_an_unedited_probe_has_the_runs_row_bit_by_bit(run, look):
    pd.testing.assert_frame_equal(run.measure(look), row_of(run, look), check_exact=True)


def test_a_reloaded_run_gives_the_same_row(run, folder, plain, look):
    loaded = gl.Run.load(folder)
    loaded.model = plain
    again = loaded.measure(loaded.probe(int(look.batch.index)))
    pd.testing.assert_frame_equal(again, row_of(run, look), check_exact=True)


def test_the_row_of_a_folded_network_is_the_runs_up_to_rounding(cnn):
    run = gl.analyze(cnn, "digits", **QUIET)
    index = run.samples["index"][:20].tolist()
    found = run.measure(run.probe(index))
    expected = run.samples[:20].drop(columns="path")
    assert list(found) == list(expected)
    for name in ("l1", "loss", "l1_logit", "share_g", "luminance_coherence", "edge_corr_contour"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    # Ranks in bins, of which rounding moves a pixel at a time.
    np.testing.assert_allclose(found["edge_auc_canny"], expected["edge_auc_canny"], atol=2e-4)


def test_an_edit_is_measured_as_the_edited_image_would_be(run, plain, look):
    pixels = look.batch.image.clone()
    pixels[:, :, :16] = 0.3
    edited = run.measure(look.at(pixels))
    alone = gl.analyze(plain, (pixels, look.batch.target), ["sample_asymmetry"], progress=False).samples
    for name in ("l1", "l2", "linf", "l1_logit", "loss", "margin", "prediction", "label"):
        assert edited[name][0] == alone[name][0], name
    assert edited["l1"][0] != row_of(run, look)["l1"][0]
    assert np.isfinite(edited["edge_partial_contour_null"][0])


def test_measure_needs_no_run(run, look):
    alone, with_pilot = gl.measure(look), gl.measure(look, pilot=run.data)
    expected = row_of(run, look)
    # Pilot images seen together or one by one differ in the last digit.
    pd.testing.assert_frame_equal(with_pilot[list(expected)], expected, rtol=1e-5)
    nulls = [c for c in alone if c.endswith(("_null", "_z", "_p"))]
    assert len(nulls) > 20
    assert alone[nulls].isna().all(axis=None)
    own = [c for c in MEASURES_ALONE if c in alone]
    pd.testing.assert_frame_equal(alone[own], expected[own], check_exact=True)
    inline = gl.measure(look, [lambda p: {"twice": 2 * p.loss}])
    assert inline["twice"][0] == 2 * expected["loss"][0]


MEASURES_ALONE = ("index", "correct", "loss", "l1", "share_r", "luminance_coherence", "edge_auc_canny")


def test_an_image_without_a_label_has_a_row(plain, digits):
    row = gl.measure(gl.probe(plain, digits.image[:2]), ["sample_asymmetry"])
    assert "correct" not in row
    assert row["label"].tolist() == [-1, -1]


def test_parameters_objectives_and_inline_columns_of_a_run_come_back(plain):
    chosen = ["sample_asymmetry", "edge_concentration:sigma=2", "robustness:eps=8/255,steps=2"]
    chosen = [*chosen, lambda probe: {"own": probe.loss}]
    run = gl.analyze(plain, "digits", chosen, objective=["loss", "true_logit"], progress=False, limit=20, batch_size=1)
    probe = run.probe(int(run.samples["index"][3]))
    found, expected = run.measure(probe), row_of(run, probe)
    assert found["own"].isna().all()
    assert {"l1@true_logit", "edge_auc_canny@true_logit[sigma=2]"} <= set(found)
    pd.testing.assert_frame_equal(found.drop(columns="own"), expected.drop(columns="own"), check_exact=True)


CHANGED = {
    "objective": "margin",
    "sigma": 2.5,
    "eps": 8 / 255,
    "steps": 3,
    "images": 5,
    "points": 7,
    "min_edge_pixels": 9,
}


@pytest.mark.parametrize("name", analyzers)
def test_an_analyzers_recorded_name_makes_it_again(name):
    fields = getattr(analyzers[name], "__dataclass_fields__", {})
    changed = {k: v for k, v in CHANGED.items() if k in fields and fields[k].init}
    given = analyzers[name](**changed)
    (again,) = choose_analyzers([Name.parse(name_of(given)).spec])
    assert name_of(again) == name_of(given)
    assert [getattr(again, f) for f in fields if fields[f].init] == [
        getattr(given, f) for f in fields if fields[f].init
    ]


def test_a_row_is_refused_where_the_pilot_images_are_unknown(run, look):
    other = copy.copy(run)
    other.data, other.cache = gl.load_data("digits", limit=50), {}
    with refused("60 images", "run.data"):
        other.measure(look)


# --- a probe of anything


@pytest.fixture(scope="module")
def vit():
    return gl.load_model("timm:test_vit", weights="random", device="cpu")


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    """Two pictures of different size."""
    place, rng = tmp_path_factory.mktemp("cats"), np.random.default_rng(0)
    for name, size in (("a.png", (200, 180, 3)), ("b.png", (170, 240, 3))):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(place / name)
    return [place / "a.png", place / "b.png"]


def test_a_picture_is_probed_in_every_form(vit, cats):
    expected = gl.probe(vit, cats[0])
    assert expected.batch.image.shape == (1, 3, 160, 160)
    picture = Image.open(cats[0])
    for form in (str(cats[0]), picture, np.asarray(picture), [cats[0]], expected.batch.image, expected.batch.image[0]):
        torch.testing.assert_close(gl.probe(vit, form).gradient(), expected.gradient(), rtol=0, atol=0)
    assert expected.target == expected.prediction
    both = gl.probe(vit, cats, labels=[3, 4])
    assert both.target.tolist() == [3, 4]
    torch.testing.assert_close(both.batch.image[:1], expected.batch.image)
    mixed = gl.probe(vit, [picture, both.batch.image])
    assert len(mixed.batch) == 3
    batch = gl.Batch(both.batch.image, torch.tensor([3, 4]), torch.tensor([70, 80]))
    assert gl.probe(vit, batch).batch.index.tolist() == [70, 80]


def test_what_cannot_be_probed_is_refused(vit, plain, cats):
    with refused("no image at", "cat.jpg"):
        gl.probe(vit, "cat.jpg")
    with refused("a dict is no image", "a path"):
        gl.probe(plain, {"image": 3})
    with refused("a Digits is no image", "a Batch"):
        gl.probe(plain, gl.load_data("digits").source)
    with refused("no image", "at least one"):
        gl.probe(vit, [])
    with refused("differ in size", "200×180", "170×240"):
        gl.probe(plain, cats)
    with refused("2 images", "3 labels"):
        gl.probe(vit, cats, labels=[1, 2, 3])
    with refused("not class numbers", "one integer"):
        gl.probe(vit, cats, labels=["cat", "dog"])
    with refused("not class numbers"):
        gl.probe(vit, cats, labels=[0.5, 1])
    with refused("label -1"):
        gl.probe(vit, cats, labels=[-1, 0])
    for call in (gl.probe, gl.input_gradient):
        with refused("label 10 is no class", "has 10"):
            call(plain, torch.rand(2, 3, 32, 32), [9, 10])
    with refused("[0, 1]", "normalise"):
        gl.probe(plain, torch.randn(1, 3, 32, 32))
    with refused("shape (32, 32)", "probe.batch.image"):
        gl.probe(plain, torch.rand(1, 3, 32, 32)).at(torch.rand(32, 32))
    with refused("a ndarray"):
        gl.probe(plain, torch.rand(1, 3, 32, 32)).at(np.zeros((1, 3, 32, 32)))


# --- what a probe keeps


def saved_bytes(model, image):
    """What torch itself says is saved, by its own hooks."""
    own = {t.untyped_storage().data_ptr() for t in (image, *model.parameters(), *model.buffers())}
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        logits = model(image.detach().requires_grad_())
    del logits
    return sum(size for place, size in seen.items() if place not in own)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_probe_says_what_its_graph_keeps(kind, cnn, vit, digits):
    model, image = (cnn, digits.image) if kind == "cnn" else (vit, torch.rand(3, 3, 160, 160))
    probe = gl.probe(model, image, needs=())
    assert probe.held == {"images": image.nbytes}
    _ = probe.logits
    assert probe.held["graph"] == pytest.approx(saved_bytes(copy.deepcopy(model), image), rel=0.02)
    probe.gradient("loss")
    probe.gradient("margin")
    assert probe.held["gradients"] == 2 * (image.nbytes + 8 * len(image))
    probe.edges("canny")
    assert probe.held["maps"] == len(image) * image.shape[-1] ** 2 * 4
    assert "graph" in repr(probe)


def test_a_with_block_and_free_let_go_of_everything(cnn, batch):
    with gl.Probe(cnn, batch, needs=("units",)) as probe:
        before = probe.gradient().clone()
        probe.edges()
        tensors = (probe.logits, probe.image, probe.units()["2"], probe.scaled_gradient().direction)
        kept = [weakref.ref(t) for t in tensors]
        del tensors
    gc.collect()
    assert [r() for r in kept] == [None] * 4
    assert list(probe.held) == ["images"]
    assert torch.equal(probe.gradient(), before)
    with pytest.raises(KeyError, match="inside"), probe:
        raise KeyError("inside")
    assert list(probe.held) == ["images"]


def test_an_awaited_gradient_is_awaited_again_after_freeing(cnn, batch):
    probe = gl.Probe(cnn, batch, needs=("gradient:loss",))
    first = probe.gradient().clone()
    assert "graph" not in probe.held
    probe.free()
    assert torch.equal(probe.gradient(), first)
    assert "graph" not in probe.held


def test_a_request_beyond_the_memory_is_refused_with_an_estimate(cnn, monkeypatch):
    two = gl.probe(cnn, torch.rand(2, 3, 32, 32))
    two.gradient()
    each = opening.TRANSIENT * sum(two.held.values()) / 2
    decoded = []
    monkeypatch.setattr(opening, "to_tensor", lambda i, how: decoded.append(1) or torch.rand(1, 3, 32, 32))
    monkeypatch.setattr(opening, "available_bytes", lambda device: int(100.5 * each))
    assert len(gl.probe(cnn, ["x.png"] * 100).batch) == 100
    decoded.clear()
    with refused("10,000 images", "an image", "at most 100", "gl.input_gradient", "gl.analyze"):
        gl.probe(cnn, ["x.png"] * 10_000)
    assert len(decoded) == 2


@pytest.mark.parametrize("of", ["loss", "sampled_logit"])
def test_a_gradient_of_many_images_goes_in_pieces(of, cnn, digits, monkeypatch):
    whole = gl.input_gradient(cnn, digits.image, digits.target, of)
    torch.testing.assert_close(whole, gl.probe(cnn, digits.image, digits.target).gradient(of), rtol=0, atol=0)
    own = gl.Batch(digits.image, digits.target, digits.index + 500)
    assert torch.equal(gl.input_gradient(cnn, own, objective=of), gl.Probe(cnn, own).gradient(of))
    sizes = []
    cnn.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(opening, "_bytes_an_image", lambda *_: 100)
    monkeypatch.setattr(opening, "available_bytes", lambda device: 2**40 if sizes else 2 * 100 * 7)
    pieces = gl.input_gradient(cnn, digits.image, digits.target, of)
    assert sizes == [7] * 9 + [1]
    assert off_by(pieces, whole) < 1e-5


def test_gradients_that_do_not_fit_themselves_are_refused(cnn, digits, monkeypatch):
    monkeypatch.setattr(opening, "available_bytes", lambda device: digits.image.nbytes - 1)
    monkeypatch.setattr(opening, "PIECE", 16)
    with refused("the gradients of 64 images take 786 kB", "gl.analyze"):
        gl.input_gradient(cnn, digits.image)


def test_the_free_memory_is_the_machines_or_the_jobs(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert memory.available_bytes(cpu) == 4000 * 1024
    for name, text in (
        ("memory.max", "3000000"),
        ("memory.current", "2500000"),
        ("memory.stat", "inactive_file 200000"),
    ):
        (tmp_path / name).write_text(text)
    assert memory.available_bytes(cpu) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(cpu) == 4000 * 1024
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    assert memory.available_bytes(cpu) is None


# --- what is shown


@pytest.mark.parametrize(("channels", "labels", "title"), [(3, [5], "5"), (3, None, "predicted"), (1, [5], "5")])
def test_a_probe_shows_image_gradient_and_edges(channels, labels, title, digits):
    net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 900, 10))
    model = gl.load_model(net, mean=(0.5,) * channels, std=(0.5,) * channels, device="cpu")
    probe = gl.probe(model, digits.image[:1, :channels], labels)
    drawn = probe.show("true_logit")
    first, second, third = drawn.axes
    assert first.get_title().startswith(title)
    np.testing.assert_allclose(shown(first).reshape(32, 32, -1)[..., 0], digits.image[0, 0])
    gradient = probe.gradient("true_logit")
    assert second.get_title() == f"gradient of true_logit, L1 {float(gradient.abs().sum()):.4g}"
    limit = float(np.quantile(gradient.abs(), 0.99))
    expected = np.clip(0.5 + 0.5 * gradient[0].permute(1, 2, 0).numpy() / limit, 0, 1)
    np.testing.assert_allclose(shown(second).reshape(expected.shape), expected, atol=1e-5)
    np.testing.assert_allclose(shown(third), 1 - probe.edges("canny")[0, 0])


@pytest.mark.parametrize("mode", ["graph", "leaf"])
def test_a_probe_that_trains_is_shown_alike(mode, cnn, batch):
    drawn, expected = (gl.Probe(cnn, batch, mode=m).show(images=2) for m in (mode, "value"))
    assert titles(drawn) == titles(expected)
    np.testing.assert_allclose(shown(drawn.axes[1]), shown(expected.axes[1]), atol=1e-4)


def test_a_large_probe_shows_its_first_images(cnn, digits):
    drawn = gl.probe(cnn, digits.image[:12]).show()
    assert len(drawn.axes) == 8 * 3
    assert "4 more images" in drawn._supxlabel.get_text()


def picture_in(page):
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)"', page)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float64) / 255


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


def test_a_probe_is_a_small_page_that_runs_nothing(cnn, digits):
    passes = []
    cnn.register_forward_hook(lambda *_: passes.append(1))
    probe = gl.probe(cnn, digits.image[:12], digits.target[:12])
    page = probe._repr_html_()
    assert passes == []
    assert picture_in(page).shape == (66, 8 * 66, 3)
    assert "4 more images" in page
    assert ".show()" in page
    probe.gradient()
    page = probe._repr_html_()
    assert picture_in(page).shape == (2 * 66, 8 * 66, 3)
    assert "graph" in page
    assert f"<td>{float(probe.loss[3]):.4g}</td>" in page
    assert len(page) < 100_000
    assert gl.Probe(cnn, digits[slice(0, 2)], mode="graph")._repr_html_()


def test_the_figures_are_methods_of_a_run(run, plain):
    assert dir(run.plot) == [n for n, f in figures.items() if "runs" in inspect.signature(f).parameters]
    assert len(dir(run.plot)) > 6
    with refused("draws trainings"):
        run.plot.learning_curves()
    drawn = run.plot.gradient_norm_distribution(by="correct")
    assert drawn._repr_png_().startswith(b"\x89PNG")
    assert "size" in run.plot.gradient_norm_distribution.__doc__
    twin = copy.copy(run)
    twin.summary = {**run.summary, "model": "twin"}
    both = run.plot.gradient_gallery(twin, images=1)
    assert {"twin", run.label} <= set(titles(both))
    assert not hasattr(run.plot, "gradient_galery")
    assert not hasattr(run.plot, "_repr_html_")
    with refused("unknown figure 'gradient_galery'", "gradient_gallery"):
        run.plot.gradient_galery()
    with refused("run.plot.", *dir(run.plot)):
        run.plot()


# --- other forms


def test_the_table_holds_the_summarys_numbers_with_their_intervals(run):
    table = run.table()
    row = table.frame.set_index("key").loc["l1_mean"]
    assert row["value"] == run.summary["l1_mean"]
    assert (row["low"], row["high"]) == (run.summary["l1_mean_low"], run.summary["l1_mean_high"])
    assert table.frame["key"][0] == "top1"
    assert {key for _, key, _ in run.readings if run.summary.get(key) is not None} <= set(table.frame["key"])
    half = (row["high"] - row["low"]) / 2
    cell = table.printed.set_index("measure")["value"]["L1 norm, mean"]
    value, error = map(float, cell.split(" ± "))
    assert error == pytest.approx(half, rel=0.06)
    assert value == pytest.approx(row["value"], abs=half / 10)
    assert "how to read it" in repr(table)
    short = table_of(run, details=False).frame["measure"]
    assert not short.str.startswith(" ").any()


def test_the_table_is_latex(run):
    text = run.to_latex()
    assert "\\begin{tabular}{lr}" in text
    assert "\\quad{}median & " in text
    assert "$\\pm$" in text
    assert all(ord(c) < 128 for c in text), {c for c in text if ord(c) > 127}


def test_examples_have_named_axes_in_xarray(run, monkeypatch):
    data = run.to_xarray()
    assert data["gradient"].dims == ("image", "channel", "y", "x")
    assert data["channel"].values.tolist() == ["R", "G", "B"]
    l1 = np.abs(data["gradient"]).sum(("channel", "y", "x"))
    np.testing.assert_allclose(l1, data["l1"], rtol=2e-3)
    rows = run.samples.set_index("index")
    assert data["l1"].values.tolist() == rows.loc[data["image"].values, "l1"].tolist()
    with refused("no examples"):
        gl.Run(run.samples, run.summary).to_xarray()
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with refused("pip install xarray"):
        run.to_xarray()


# --- a folder that is not what was measured


def test_a_changed_run_is_noticed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "rows")
    samples = pd.read_parquet(folder / "samples.parquet")
    samples.head(50).to_parquet(tmp_path / "rows" / "samples.parquet")
    with refused("samples.parquet", "changed after", "analyze again"):
        gl.Run.load(tmp_path / "rows")
    shutil.copytree(folder, tmp_path / "number")
    summary = json.loads((folder / "summary.json").read_text())
    (tmp_path / "number" / "summary.json").write_text(json.dumps({**summary, "top1": 99.9}))
    with refused("summary.json", "changed after"):
        gl.Run.load(tmp_path / "number")


def test_a_run_without_hashes_must_have_as_many_rows_as_it_counts(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    found = json.loads((folder / "run.json").read_text())
    del found["sha256"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(found))
    assert len(gl.Run.load(tmp_path / "old").samples) == 60
    pd.read_parquet(folder / "samples.parquet").head(50).to_parquet(tmp_path / "old" / "samples.parquet")
    with refused("50 rows", "60 images"):
        gl.Run.load(tmp_path / "old")


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": 1}', ["not written by gradlens"]), ("[]", ["not written by gradlens"]), ('{"format": 7}', ["format 7"])],
)
def test_a_foreign_run_json_is_refused(text, words, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(text)
    with refused(str(tmp_path), *words):
        gl.Run.load(tmp_path / "run")


def test_a_change_in_python_is_saved_and_loaded(run, tmp_path):
    part = run.select("index > 100")
    part.samples = part.samples.assign(own=1.0)
    loaded = gl.Run.load(part.save(tmp_path / "part"))
    assert loaded.samples["own"].tolist() == [1.0] * len(part.samples)


# --- progress


def test_a_notebook_sees_one_line_that_ends_in_how_long_it_took(monkeypatch):
    said = []
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "CELL_SECONDS", -1)
    monkeypatch.setattr(notebook.Line, "show", lambda self, text, share=None: said.append((text, share)))
    items = [(k, [0] * 10, {}) for k in range(4)]
    assert list(progress.track(items, "net", 40, 0, True)) == items
    assert [share for _, share in said] == [0, 0.25, 0.5, 0.75, 1, None]
    assert said[0][0] == "net: 0/40 images"
    assert re.fullmatch(r"net: 20/40 images, [\d,.]+ images/s, [\d,]+ s left", said[2][0])
    assert re.fullmatch(r"net: 40 images in [\d.]+ s", said[-1][0])
    said.clear()
    assert list(progress.track(items, "net", 40, 0, False)) == items
    assert said == []


def test_a_script_is_no_notebook():
    assert not notebook.in_notebook()


def test_arrays_and_probe_agree_on_what_an_image_is():
    image = np.random.default_rng(0).random((2, 3, 8, 8))
    assert torch.equal(opening._stacked(opening._listed(image), _Bare()), Arrays(image).images)


class _Bare:
    class card:  # noqa: N801
        preprocess, name = None, "bare"
