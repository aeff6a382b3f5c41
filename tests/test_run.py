"""A run holds what was measured, survives an interruption bit by bit, and refuses what does not fit."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from agreement import assert_same
from refusals import refused
from torch import nn

from gradlens import Interrupted, Preprocess, Run, analyze, load_data, load_model
from gradlens.analysis import provenance
from gradlens.analyzers import STANDARD
from gradlens.analyzers._class_selectivity import ClassSelectivity
from gradlens.analyzers._edge_concentration import MEASURES
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CORE = ["index", "path", "label", "prediction", "correct", "confidence", "error_mass", "loss", "margin"]
SIZE = ["l1", "l2", "linf", "l1_logit"]
CHANNELS = ["share_r", "share_g", "share_b", "luminance_coherence"]
RANKED = ("edge_auc_canny", "edge_spearman_contour", "edge_partial_rank_contour")
EDGES = [f"{m}{tail}" for m in MEASURES for tail in ("", "_null", "_z")]


def classifier(seed=0, activation="gelu", mean=MEAN, classes=10):
    """A digits network whose weights and BatchNorm statistics come from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = digits_cnn(classes, activation)
        for norm in (m for m in net if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.5, 2)
    return load_model(net, mean=mean, std=STD)


def measure(model=None, data="digits", analyzers="sample_asymmetry", **options):
    return analyze(
        model or classifier(), data, analyzers, **{"limit": 60, "batch_size": 16, "progress": False, **options}
    )


def assert_close(a, b):
    """Two runs agree to 1e-5: of the number itself, or of one where it passes through zero.

    What comes from ranks in bins moves by steps: rounding can carry a pixel over the border of its bin, which on
    32 × 32 pixels with a hundred on edges is worth up to 1e-4, and thirty times that in null deviations of 0.03.
    A chance moves by a whole step where a null passes the value.
    """
    assert list(a.samples) == list(b.samples)
    steps = {f"{m}{tail}": atol for m in RANKED for tail, atol in (("", 1e-4), ("_null", 1e-4), ("_z", 3e-3))}
    chances = dict.fromkeys((f"{m}_p" for m in MEASURES), 1 / 50)
    through_zero = dict.fromkeys(["margin", *EDGES], 1e-5) | {f"{m}_z": 1e-4 for m in MEASURES}
    for name, column in a.samples.items():
        atol = {**through_zero, **steps, **chances}.get(name, 0)
        pd.testing.assert_series_equal(column, b.samples[name], rtol=1e-5, atol=atol)


@pytest.fixture(scope="module")
def baseline():
    return measure(analyzers="standard")


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    """Sixty digits as PNG files in class folders."""
    root = tmp_path_factory.mktemp("digits")
    data = load_data("digits", limit=60)
    for position, index in enumerate(data.indices):
        place = root / str(data.labels[position])
        place.mkdir(exist_ok=True)
        data.source.open(index).save(place / f"{index}.png")
    return root


def in_folder(root):
    return load_data(root).bind(Preprocess(size=32, crop_pct=1.0))


class Counting:
    """An inline analyzer that counts its batches, and may end the process's patience at one of them."""

    def __init__(self, stop_at=None):
        # The first look, at the pilot images, is none.
        self.batches, self.stop_at = -1, stop_at

    def __call__(self, probe):
        self.batches += 1
        if self.batches == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"twice_the_loss": 2 * probe.loss}


def interrupted(out, **options):
    with pytest.raises(Interrupted, match="SIGTERM"):
        measure(analyzers=[*STANDARD, Counting(stop_at=2)], out=out, **options)
    return out


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that was stopped after its second batch of four."""
    return interrupted(tmp_path_factory.mktemp("unfinished") / "run")


def test_a_run_has_the_columns_of_the_contract(baseline):
    assert [c for c in CORE + SIZE + CHANNELS + EDGES if c not in baseline.samples] == []
    assert [c for c in baseline.samples if "@" in c or "[" in c] == []
    assert len(baseline.samples) == 60
    assert baseline.samples["index"].tolist() == load_data("digits", limit=60).indices.tolist()
    assert baseline.samples["path"][0] == load_data("digits").path(baseline.samples["index"][0])
    kinds = {c: str(baseline.samples[c].dtype) for c in ("index", "label", "prediction", "correct", "l1")}
    assert kinds == {"index": "int64", "label": "int64", "prediction": "int64", "correct": "bool", "l1": "float64"}


def test_the_columns_are_what_torch_computes_of_the_unfolded_network(baseline):
    model = classifier()
    batch = load_data("digits").batch(baseline.samples["index"].tolist())
    image = batch.image.requires_grad_()
    logits = model(image)
    loss = F.cross_entropy(logits, batch.target, reduction="none")
    gradient = torch.autograd.grad(loss.sum(), image)[0].double()
    logits, p = logits.detach(), logits.detach().double().softmax(1)
    norms = gradient.flatten(1)
    expected = {
        "label": batch.target,
        "prediction": logits.argmax(1),
        "correct": logits.argmax(1) == batch.target,
        "confidence": p.amax(1),
        "error_mass": 1 - p.gather(1, batch.target[:, None])[:, 0],
        "loss": loss.detach().double(),
        "l1": norms.abs().sum(1),
        "l2": norms.norm(dim=1),
        "linf": norms.abs().amax(1),
        "share_g": gradient[:, 1].abs().sum((1, 2)) / norms.abs().sum(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(baseline.samples[name], values.numpy(), rtol=1e-5, err_msg=name)
    assert 0 < baseline.samples["correct"].sum() < 60
    assert baseline.summary["top1"] == pytest.approx(100 * float((logits.argmax(1) == batch.target).float().mean()))
    top5 = logits.topk(5).indices.eq(batch.target[:, None]).any(1).double().mean()
    assert baseline.summary["top5"] == pytest.approx(100 * float(top5))


def test_the_summary_has_timms_results_columns(baseline):
    names = ("model", "img_size", "top1", "top5", "param_count", "crop_pct", "interpolation")
    assert [n for n in names if n not in baseline.summary] == []
    assert baseline.summary["param_count"] == round(sum(p.numel() for p in classifier().parameters()) / 1e6, 4)
    assert baseline.summary["images"] == 60


def test_the_processor_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Abacus 9\nprocessor\t: 1\nmodel name\t: Abacus 9\n"
    )
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    assert provenance.device_name(torch.device("cpu")) == "Abacus 9"
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "none")
    assert provenance.device_name(torch.device("cpu"))


def test_provenance_says_how_to_repeat_the_run(baseline):
    found = baseline.provenance
    wanted = (
        "weights",
        "arch",
        "activation",
        "mean",
        "std",
        "data",
        "data_fingerprint",
        "preprocess_hash",
        "analyzers",
    )
    assert [n for n in (*wanted, "batch_size", "device", "world_size", "threads", "argv") if n not in found] == []
    assert (found["seed"], found["precision"], found["folded_sites"], found["world_size"]) == (0, "float32", 3, 1)
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["analyzers"] == list(STANDARD)


def test_examples_are_the_images_and_their_gradients(baseline):
    kept = baseline.examples
    assert kept["index"].tolist() == load_data("digits").limit(60).limit(16).indices.tolist()
    probe = baseline.probe(int(kept["index"][3]))
    gradient = kept["gradient"][3].astype(np.float64) * kept["scale"][3]
    found = probe.gradient("loss")[0].numpy()
    np.testing.assert_allclose(gradient, found, atol=1e-3 * np.abs(found).max())
    np.testing.assert_allclose(kept["image"][3], probe.batch.image[0], atol=1e-3)
    assert measure(examples=0).examples == {}


def test_a_saved_run_is_loaded_as_it_was(baseline, tmp_path):
    baseline.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert_same(loaded, baseline)
    assert loaded.provenance == json.loads(json.dumps(baseline.provenance))
    assert (loaded.hash, loaded.label) == (baseline.hash, baseline.label)
    found = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert found == {"run.json", "samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples/loss.npz"}


def test_a_runs_hash_tells_apart_what_the_same_weights_were_measured_as():
    runs = [measure(classifier(activation=a, mean=m)) for a, m in (("gelu", MEAN), ("relu", MEAN), ("gelu", STD))]
    assert len({r.provenance["weights"] for r in runs}) == 1
    assert len({r.hash for r in runs}) == 3


def test_an_analysis_with_an_output_leaves_the_same_folder(baseline, tmp_path):
    run = measure(analyzers="standard", out=tmp_path / "run")
    assert_same(run, baseline)
    assert_same(Run.load(tmp_path / "run"), baseline)
    assert not (tmp_path / "run" / "parts").exists()


def test_an_analysis_without_an_output_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measure()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_is_resumed_bit_by_bit(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path / "run")
    rest, all_at_once = Counting(), Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", resume=True)
    whole = measure(analyzers=[*STANDARD, all_at_once])
    assert_same(resumed, whole)
    assert_same(Run.load(tmp_path / "run"), whole)
    assert (rest.batches, all_at_once.batches) == (2, 4)


def test_a_run_can_be_interrupted_twice(tmp_path):
    for _ in range(2):
        interrupted(tmp_path / "run", batch_size=10, resume=True)
    rest = Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", batch_size=10, resume=True)
    assert_same(resumed, measure(analyzers=[*STANDARD, Counting()], batch_size=10))
    assert rest.batches == 2


def test_a_failing_analyzer_loses_no_finished_batch(tmp_path):
    def failing(probe):
        if (probe.batch.index > 200).any():
            raise ZeroDivisionError
        return {"twice_the_loss": 2 * probe.loss}

    with pytest.raises(ZeroDivisionError):
        measure(analyzers=[*STANDARD, failing], out=tmp_path / "run")
    rest = Counting()
    resumed = measure(analyzers=[*STANDARD, rest], out=tmp_path / "run", resume=True)
    assert_same(resumed, measure(analyzers=[*STANDARD, Counting()]))
    assert 0 < rest.batches < 4


def test_rows_whose_batch_was_not_committed_are_measured_again(tmp_path, monkeypatch):
    real, commits = np.savez, []

    def savez(*args, **kwargs):
        commits.append(1)
        if len(commits) > 2:
            raise RuntimeError("the power failed")
        return real(*args, **kwargs)

    monkeypatch.setattr("gradlens.analysis.loop.FLUSH_SECONDS", -1)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        with pytest.raises(RuntimeError, match="power"):
            measure(out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "parts").glob("*.parquet"))) == 3
    assert_same(measure(out=tmp_path / "run", resume=True), measure())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, ["seed = 0, now 1"]),
        ({"batch_size": 8}, ["batch_size = 16, now 8"]),
        ({"limit": 50}, ["images = 60, now 50"]),
        ({"data": load_data("digits", split="test")}, ["data = digits/val, now digits/test"]),
        ({"precision": "bfloat16"}, ["precision = float32, now bfloat16"]),
        ({"model": lambda: classifier(seed=1)}, ["weights = "]),
        ({"model": lambda: classifier(activation="relu")}, ["activation = gelu, now relu"]),
        ({"model": lambda: classifier(mean=(0.5, 0.5, 0.5))}, ["mean = [0.5, 0.4, 0.3], now [0.5, 0.5, 0.5]"]),
        ({"analyzers": "sample_asymmetry"}, ["analyzers = "]),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_a_run_is_not_resumed_with_other_settings(unfinished, finished, state, changed, words):
    out = {"unfinished": unfinished, "finished": finished}[state]
    options = {"analyzers": [*STANDARD, Counting()], **changed}
    if "model" in options:
        options["model"] = options["model"]()
    with refused(str(out), "choose another output", *words):
        measure(out=out, resume=True, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    measure(analyzers=[*STANDARD, Counting()], out=out)
    return out


def test_an_output_that_holds_a_run_is_refused_unless_it_is_resumed(unfinished, finished):
    with refused(str(finished), "a finished run", "choose another output"):
        measure(analyzers=[*STANDARD, Counting()], out=finished)
    with refused(str(unfinished), "an unfinished run", "--resume"):
        measure(analyzers=[*STANDARD, Counting()], out=unfinished)
    again = Counting()
    assert_same(measure(analyzers=[*STANDARD, again], out=finished, resume=True), Run.load(finished))
    assert again.batches < 0  # not even a first look


def test_an_output_in_which_nothing_was_measured_can_be_used_again(tmp_path):
    with refused("labels up to 9"):
        measure(classifier(classes=5), out=tmp_path / "run")
    assert len(measure(out=tmp_path / "run").samples) == 60


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with refused("cannot write", str(out), "choose another output"):
            measure(out=out)


def test_a_failure_while_saving_leaves_no_folder_that_looks_complete(baseline, tmp_path, monkeypatch):
    baseline.save(tmp_path / "run")

    def full(path, write):
        raise OSError("no space left")

    monkeypatch.setattr("gradlens.runs.folder.write_atomically", full)
    with pytest.raises(OSError, match="no space left"):
        baseline.save(tmp_path / "run")
    with refused("holds no run"):
        Run.load(tmp_path / "run")


def test_an_unreadable_image_is_left_out_counted_and_listed(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path / "set")
    bad = sorted((tmp_path / "set" / "3").iterdir())[2]
    good = measure(data=in_folder(tmp_path / "set"))
    bad.write_bytes(bad.read_bytes()[:60])
    run = measure(data=in_folder(tmp_path / "set"), out=tmp_path / "run")
    name = bad.relative_to(tmp_path / "set").as_posix()
    assert name not in run.samples["path"].tolist()
    assert (len(run.samples), run.summary["unreadable"]) == (59, 1)
    assert list(run.provenance["unreadable"]) == [name]
    assert bad.name in run.provenance["unreadable"][name]
    assert Run.load(tmp_path / "run").provenance["unreadable"] == run.provenance["unreadable"]
    rest = good.samples[good.samples["path"] != name].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.samples, rest, rtol=1e-5)


def test_more_than_one_percent_of_unreadable_images_stop_the_run(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path / "set")
    for bad in sorted((tmp_path / "set" / "3").iterdir())[:2]:
        bad.write_bytes(b"")
    with refused("2 images cannot be read", "over 1 %", ".png", "repair or remove them"):
        measure(data=in_folder(tmp_path / "set"), out=tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with refused("none of the first", "can be read"):
        measure(data=in_folder(tmp_path))


def hungry(limit):
    """A network that runs out of memory for more than so many images at once."""

    def exhaust(module, inputs):
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSecond line")

    model = classifier()
    model.net[0].register_forward_pre_hook(exhaust)
    return model


@pytest.mark.parametrize("limit", [4, 1])
def test_a_batch_that_does_not_fit_into_memory_is_measured_in_pieces(baseline, limit):
    run = measure(hungry(limit), analyzers="standard")
    assert_close(run, baseline)
    assert (
        run.arrays["edge_concentration/null/index"].tolist()
        == baseline.arrays["edge_concentration/null/index"].tolist()
    )
    assert run.examples["index"].tolist() == baseline.examples["index"].tolist()


def test_an_image_that_does_not_fit_into_memory_is_refused(tmp_path):
    with refused("one image does not fit into memory", "CUDA out of memory", "another device"):
        measure(hungry(0))


def test_another_error_of_the_model_is_not_taken_for_a_lack_of_memory():
    def broken(module, inputs):
        raise RuntimeError("shapes do not match")

    model = classifier()
    model.net[0].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        measure(model)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_an_images_numbers_do_not_depend_on_its_batch(baseline, size):
    assert_close(measure(analyzers="standard", batch_size=size), baseline)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_worker_processes_change_nothing(baseline):
    assert_same(measure(analyzers="standard", workers=1), baseline)


def test_half_precision_is_opt_in_recorded_and_close(baseline):
    run = measure(precision="bfloat16")
    assert run.provenance["precision"] == "bfloat16"
    np.testing.assert_allclose(run.samples["l1"], baseline.samples["l1"], rtol=0.1)
    assert not np.allclose(run.samples["l1"], baseline.samples["l1"], rtol=1e-5)
    with refused("'float16'", "bfloat16", "underflows"):
        measure(precision="float16")


class Convolutional(nn.Module):
    """Five classes, told by no Linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("net", [lambda: digits_cnn(5), Convolutional])
def test_labels_outside_the_models_classes_are_refused(net):
    with refused("digits/val", "labels up to 9", "5 classes"):
        measure(load_model(net(), normalized=True))


def test_a_linear_layer_that_is_not_the_head_does_not_decide_the_number_of_classes():
    net = digits_cnn()
    net.add_module("unused", nn.Identity())
    net[-1].add_module("projection", nn.Linear(3, 2))
    assert len(measure(load_model(net, normalized=True)).samples) == 60


def test_an_unlabelled_folder_is_measured_at_its_predictions(digits_folder, tmp_path):
    for file in digits_folder.glob("[0-3]/*.png"):
        shutil.copy(file, tmp_path)
    run = measure(data=in_folder(tmp_path), analyzers="standard")
    assert set(run.samples["label"]) == {-1}
    assert "correct" not in run.samples
    assert run.summary["top1"] is None
    np.testing.assert_allclose(run.samples["confidence"], 1 - run.samples["error_mass"], rtol=1e-9)
    assert (run.samples["l1"] > 0).all()
    assert "l1_mean_correct" not in run.summary


def test_a_function_of_a_probe_adds_a_column():
    run = measure(analyzers=["sample_asymmetry", lambda p: {"mean_pixel": p.batch.image.mean((1, 2, 3))}])
    data = load_data("digits")
    expected = [float(data[i][0].mean()) for i in run.samples["index"]]
    np.testing.assert_allclose(run.samples["mean_pixel"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("analyzers", "words"),
    [
        ([lambda p: {"x": p.logits.detach()}], ["'x'", "(16, 10)", "one number an image"]),
        ([lambda p: {"loss": p.loss}], ["'loss'", "rename"]),
        (["sample_asymmetry", lambda p: {"l1": p.loss}], ["'l1'", "rename"]),
        (["sample_asymetry"], ["'sample_asymetry'", "sample_asymmetry"]),
        (["sample_asymmetry", "sample_asymmetry"], ["twice"]),
        ([3], ["3 is not an analyzer"]),
    ],
    ids=["shape", "core column", "column", "name", "twice", "type"],
)
def test_analyzers_that_cannot_be_used_are_refused(analyzers, words):
    with refused(*words):
        measure(analyzers=analyzers)


def test_an_unknown_objective_is_refused():
    with refused("'true_logits'", "true_logit"):
        measure(objective="true_logits")


def test_further_objectives_add_columns_beside_the_losses(baseline):
    both = measure(analyzers="standard", objective=("loss", "true_logit"))
    alone = measure(analyzers="standard", objective="true_logit")
    added = [c for c in both.samples if c.endswith("@true_logit")]
    assert {"l1@true_logit", "share_r@true_logit", "edge_auc_canny_z@true_logit"} <= set(added)
    assert "l1" not in alone.samples
    pd.testing.assert_frame_equal(both.samples[added], alone.samples[added], check_exact=True)
    pd.testing.assert_frame_equal(both.samples.drop(columns=added), baseline.samples, check_exact=True)
    assert both.summary["l1_mean@true_logit"] == alone.summary["l1_mean@true_logit"] != both.summary["l1_mean"]
    np.testing.assert_allclose(both.samples["l1@true_logit"].mean(), both.summary["l1_mean@true_logit"])


def test_an_analyzer_instance_serves_two_models():
    ours = ClassSelectivity()
    small = load_model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Convolutional10()), normalized=True)
    first, second = measure(analyzers=[ours]), measure(small, analyzers=[ours])
    assert [n for n in first.arrays if ":" not in n] == [f"class_selectivity/{k}" for k in (2, 5, 8)]
    assert [n for n in second.arrays if ":" not in n] == ["class_selectivity/1"]


class Convolutional10(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 10, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def test_top_gives_the_largest_first(baseline):
    largest = sorted(baseline.samples["l1"], reverse=True)
    assert baseline.top("l1", 5).samples["l1"].tolist() == largest[:5]
    wrong = baseline.top("l1", 100, where="not correct and l1 > 0").samples
    assert wrong["l1"].tolist() == sorted(baseline.samples["l1"][~baseline.samples["correct"]], reverse=True)
    assert len(baseline.samples) == 60


def test_select_keeps_the_rows_for_which_an_expression_holds(baseline):
    chosen = baseline.select("label == 3 or index < 20").samples
    expected = baseline.samples[(baseline.samples["label"] == 3) | (baseline.samples["index"] < 20)]
    pd.testing.assert_frame_equal(chosen, expected)
    assert 0 < len(chosen) < 60
    assert baseline.select(None) is baseline


@pytest.mark.parametrize("where", ["l1 >", "nope > 3", "l1 + 1", "l1.sum()", "import os", "x = 3", "@x"])
def test_an_expression_that_selects_nothing_sensible_is_refused(baseline, where):
    with refused(f"'{where}'", "columns index, path"):
        baseline.select(where)


def test_a_column_that_cannot_be_ranked_is_refused(baseline):
    with refused("'l1_logitt'", "l1_logit"):
        baseline.top("l1_logitt")
    with refused("'path' holds text"):
        baseline.top("path")


@pytest.fixture(scope="module")
def from_file(tmp_path_factory):
    """A saved run of a checkpoint file on a data set by name."""
    folder = tmp_path_factory.mktemp("from_file")
    state = classifier().net.state_dict()
    save_checkpoint(folder / "own.pt", state, arch="digits_cnn", activation="gelu", mean=MEAN, std=STD)
    run = measure(folder / "own.pt", out=folder / "run", analyzers="standard")
    return folder, run


def test_a_run_of_a_file_equals_a_run_of_the_module_that_it_holds(from_file, baseline):
    pd.testing.assert_frame_equal(from_file[1].samples, baseline.samples, check_exact=True)


@pytest.mark.parametrize("origin", ["in memory", "loaded"])
def test_an_image_can_be_looked_at_again(from_file, origin):
    folder, run = from_file
    run = run if origin == "in memory" else Run.load(folder / "run")
    row = run.samples.iloc[17]
    probe = run.probe(int(row["index"]))
    assert float(probe.gradient("loss").double().abs().sum()) == pytest.approx(row["l1"], rel=1e-5)
    assert float(probe.loss) == pytest.approx(row["loss"], rel=1e-5)
    assert int(probe.prediction) == row["prediction"]
    assert int(probe.batch.target) == row["label"]
    assert list(probe.units()) == ["2", "5", "8"]


def test_an_image_of_a_folder_is_preprocessed_as_in_the_run(digits_folder, tmp_path):
    run = measure(data=load_data(digits_folder).bind(Preprocess(size=24, crop_pct=0.9)), out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    loaded.model = run.model
    row = run.samples.iloc[5]
    assert float(loaded.probe(int(row["index"])).loss) == pytest.approx(row["loss"], rel=1e-5)


def test_what_cannot_be_opened_again_is_said(from_file, baseline, tmp_path):
    folder, _ = from_file
    with refused("no image 5000", "digits/val"):
        Run.load(folder / "run").probe(5000)
    baseline.save(tmp_path / "run")
    with refused("model was given as an object", "run.model"):
        Run.load(tmp_path / "run").probe(0)
    arrays = measure(data=(torch.rand(4, 3, 32, 32), [0, 1, 2, 3]), out=tmp_path / "arrays")
    loaded = Run.load(tmp_path / "arrays")
    loaded.model = arrays.model
    with refused("data were given as an object", "run.data"):
        loaded.probe(0)


def test_a_checkpoint_that_changed_since_is_noticed(from_file, tmp_path):
    folder, _ = from_file
    shutil.copytree(folder / "run", tmp_path / "run")
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    save_checkpoint(
        tmp_path / "own.pt",
        classifier(seed=1).net.state_dict(),
        arch="digits_cnn",
        activation="gelu",
        mean=MEAN,
        std=STD,
    )
    found["load_model"]["spec"] = str(tmp_path / "own.pt")
    (tmp_path / "run" / "run.json").write_text(json.dumps(found))
    with refused("own.pt", "other weights", "run.model"):
        Run.load(tmp_path / "run").probe(0)


def damage(run, kind):
    if kind == "no run":
        shutil.rmtree(run)
    elif kind == "empty folder":
        shutil.rmtree(run)
        run.mkdir()
    elif kind == "other format":
        (run / "run.json").write_text('{"format": 99}')
    elif kind == "cut json":
        (run / "run.json").write_bytes((run / "run.json").read_bytes()[:50])
    elif kind == "cut table":
        (run / "samples.parquet").write_bytes((run / "samples.parquet").read_bytes()[:500])
    elif kind == "cut arrays":
        (run / "arrays.npz").write_bytes((run / "arrays.npz").read_bytes()[:500])
    else:
        (run / kind).unlink()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no run", ["holds no run", "folder of an analysis"]),
        ("empty folder", ["holds no run"]),
        ("other format", ["another version", "analyze again"]),
        ("cut json", ["damaged", "analyze again"]),
        ("cut table", ["damaged", "analyze again"]),
        ("cut arrays", ["damaged", "analyze again"]),
        ("summary.json", ["damaged", "summary.json"]),
        ("arrays.npz", ["damaged", "arrays.npz"]),
    ],
)
def test_a_folder_that_is_not_a_whole_run_is_refused(finished, tmp_path, kind, words):
    shutil.copytree(finished, tmp_path / "run")
    damage(tmp_path / "run", kind)
    with refused(str(tmp_path / "run"), *words):
        Run.load(tmp_path / "run")


def test_an_unfinished_run_is_refused_by_name(unfinished):
    with refused("unfinished run", "--resume"):
        Run.load(unfinished)


def test_a_run_shows_itself_in_a_notebook_briefly_and_escaped(baseline):
    baseline_named = Run(baseline.samples, {**baseline.summary, "model": "<script>"})
    page = baseline_named._repr_html_()
    assert len(page) < 100_000
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "60 images" in repr(baseline)


def settings(model):
    return {
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad is None for p in model.parameters()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "state": {k: v.tolist() for k, v in model.state_dict().items()},
        "random numbers": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "signals": [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)],
    }


class Uncopyable(nn.Module):
    """Nobody can copy it, so it is measured itself."""

    def __init__(self):
        super().__init__()
        self.net = digits_cnn()

    def __deepcopy__(self, memo):
        raise TypeError("cannot copy a handle")

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("net", [digits_cnn, Uncopyable])
@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_state_is_left_as_it_was(net, fails):
    model = load_model(net(), normalized=True).train()
    next(model.parameters()).requires_grad_(False)
    before = settings(model)
    last = (lambda p: 1 / 0) if fails else Counting()
    try:
        measure(model, analyzers=[*STANDARD, last])
    except ZeroDivisionError:
        assert fails
    assert settings(model) == before


def test_several_processes_need_a_common_folder(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused("several processes", "output"):
        measure()


def test_a_variant_is_scored_among_its_own_classes(monkeypatch):
    data = load_data("digits", limit=60)
    model = classifier()
    valid = tuple(sorted(set(data.labels.tolist()) - {7}))
    data = data.subset(data.indices[data.labels != 7].tolist())
    monkeypatch.setattr(type(data.source), "valid_classes", valid, raising=False)
    run = analyze(model, data, ["sample_asymmetry"], progress=False)
    logits = model(data.batch(data.indices).image)
    logits[:, 7] = -torch.inf
    expected = (logits.argmax(1).numpy() == data.labels).tolist()
    assert run.samples["correct_valid"].tolist() == expected
    assert run.summary["top1_valid"] == pytest.approx(100 * np.mean(expected))


def test_what_a_layout_leaves_in_doubt_is_said_before_the_run(monkeypatch, caplog):
    data = load_data("digits", limit=20)
    monkeypatch.setattr(type(data.source), "notes", ("class folders are in text order",), raising=False)
    run = analyze(classifier(), data, ["sample_asymmetry"], progress=False)
    assert "text order" in caplog.text
    assert run.provenance["data_notes"] == ("class folders are in text order",)
