"""Kept gradients are the run's own, of any objective, in the form that examples have."""

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

from gradlens import Run, analyze, load_data
from gradlens.analyzers.gallery import Gallery, kept_gradients
from gradlens.probes.probe import Probe

NAMES = ["index", "image", "gradient", "scale"]


def gallery(probes, **parameters):
    chosen = Gallery(**parameters)
    for probe in probes:
        chosen.fit(probe)
    return chosen.summarize(pd.DataFrame(), chosen.tallies())


@pytest.mark.parametrize("objective", ["loss", "true_logit", "margin"])
def test_kept_gradients_are_the_objectives(objective, cnn, digits):
    arrays = gallery([Probe(cnn, digits)], images=5, objective=objective).arrays
    assert list(arrays) == NAMES
    assert arrays["gradient"].dtype == arrays["image"].dtype == np.float16
    gradient = Probe(cnn, digits[slice(0, 5)]).gradient(objective).numpy()
    for k in range(5):
        found = arrays["gradient"][k].astype(np.float64) * arrays["scale"][k]
        np.testing.assert_allclose(found, gradient[k], rtol=0, atol=1e-3 * np.abs(gradient[k]).max())
        assert np.abs(arrays["gradient"][k]).max() == 1
    np.testing.assert_array_equal(arrays["index"], digits.index[:5])
    np.testing.assert_allclose(arrays["image"], digits.image[:5], atol=1e-3)


@pytest.mark.parametrize(("size", "images"), [(16, 20), (64, 20), (7, 64), (3, 1)])
def test_pieces_of_the_pilot_make_one_gallery(size, images, cnn, digits):
    pieces = [Probe(cnn, digits[slice(i, i + size)]) for i in range(0, 64, size)]
    found, expected = gallery(pieces, images=images), kept_gradients(Probe(cnn, digits[slice(0, images)]))
    assert found.scalars == {"gallery_images": images}
    np.testing.assert_array_equal(found.arrays["index"], expected["index"])
    np.testing.assert_allclose(found.arrays["scale"], expected["scale"], rtol=1e-4)
    np.testing.assert_allclose(found.arrays["gradient"], expected["gradient"], rtol=0, atol=2e-3)


def test_a_gallery_holds_no_more_than_the_pilot(cnn, digits):
    assert gallery([Probe(cnn, digits)], images=100).scalars == {"gallery_images": 64}


def test_a_vanished_gradient_is_kept_as_zero(linear):
    batch = load_data("digits").batch(range(2))
    image = torch.nn.functional.interpolate(batch.image, 8)
    linear.net[1].weight.data.zero_()
    arrays = gallery([Probe(linear, type(batch)(image, batch.target % 5, batch.index))], images=2).arrays
    assert not arrays["gradient"].any()
    assert np.isfinite(arrays["scale"]).all()


@pytest.mark.parametrize("images", [0, -3])
def test_an_empty_gallery_is_refused(images):
    with refused(f"a gallery of {images} images", "images=1"):
        Gallery(images=images)


def test_a_run_keeps_galleries_of_several_objectives(cnn, tmp_path):
    data = load_data("digits").limit(30)
    run = analyze(
        cnn, data, ["gallery:images=4", "sample_asymmetry"], tmp_path / "run", objective=["loss", "true_logit"]
    )
    loaded = Run.load(tmp_path / "run")
    for objective in ("", "@true_logit"):
        index = loaded.arrays[f"gallery{objective}[images=4]/index"]
        assert index.tolist() == run.samples["index"][:4].tolist()
        gradient = run.probe(int(index[2])).gradient(objective[1:] or "loss")[0].numpy()
        kept = (loaded.arrays[f"gallery{objective}[images=4]/{name}"][2] for name in ("gradient", "scale"))
        np.testing.assert_allclose(np.multiply(*kept), gradient, rtol=0, atol=2e-3 * np.abs(gradient).max())
    assert loaded.summary["gallery_images[images=4]"] == 4


def test_examples_have_the_same_form(cnn):
    data = load_data("digits").limit(16)
    run = analyze(cnn, data, ["gallery"], progress=False)
    assert list(run.examples) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(run.arrays[f"gallery/{name}"], run.examples[name])
