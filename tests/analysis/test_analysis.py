"""What cannot be read or does not fit into memory changes no other image's numbers."""

import shutil

import pandas as pd
import pytest
import torch
from agreement import assert_same
from measured import classifier, in_folder, measure
from refusals import refused

from gradlens import Run
from gradlens.analyzers._edge_concentration import MEASURES

RANKED = ("edge_auc_canny", "edge_spearman_contour", "edge_partial_rank_contour")
EDGES = [f"{m}{tail}" for m in MEASURES for tail in ("", "_null", "_z")]


def assert_close(a, b):
    """Two runs agree to 1e-5: of the number itself, or of one where it passes through zero.

    What comes from ranks in bins moves by steps: rounding can carry a pixel over the border of its bin, which on
    32 × 32 pixels with a hundred on edges is worth up to 1e-4, and thirty times that in null deviations of 0.03.
    A chance moves by a whole step where a null passes the value. Located values are over what the edges' own map
    leaves, of 0.05 at least, so a step, and rounding, is worth up to twenty.
    """
    assert list(a.samples) == list(b.samples)
    steps = {f"{m}{tail}": atol for m in RANKED for tail, atol in (("", 1e-4), ("_null", 1e-4), ("_z", 3e-3))}
    chances = dict.fromkeys((f"{m}_p" for m in MEASURES), 1 / 50)
    located = ("edge_partial_rank_contour_local", "edge_auc_canny_local")
    steps |= dict.fromkeys(located, 1e-4 / 0.05)
    steps["edge_partial_contour_local"] = 1e-5 / 0.05
    through_zero = dict.fromkeys(["margin", *EDGES], 1e-5) | {f"{m}_z": 1e-4 for m in MEASURES}
    for name, column in a.samples.items():
        atol = {**through_zero, **steps, **chances}.get(name, 0)
        pd.testing.assert_series_equal(column, b.samples[name], rtol=1e-5, atol=atol)


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
    with refused("cannot take images", "shapes do not match"):
        measure(model)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_an_images_numbers_do_not_depend_on_its_batch(baseline, size):
    assert_close(measure(analyzers="standard", batch_size=size), baseline)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_worker_processes_change_nothing(baseline):
    assert_same(measure(analyzers="standard", workers=1), baseline)
