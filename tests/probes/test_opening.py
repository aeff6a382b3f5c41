"""Any images can be probed, in the memory that is there, and what is no image is refused in one line."""

import numpy as np
import pytest
import torch
from gradients import relative_error
from PIL import Image
from refusals import refused

import gradlens as gl
from gradlens.data._given import Arrays
from gradlens.probes import opening
from gradlens.probes.probe import Probe


def test_input_gradient_is_the_probes(cnn, batch):
    found = gl.input_gradient(cnn, batch.image, batch.target, objective="margin")
    assert torch.equal(found, Probe(cnn.folded(), batch).gradient("margin"))
    assert torch.equal(found, gl.probe(cnn, batch).gradient("margin"))


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


def test_what_cannot_be_probed_is_refused(vit, cnn, cats):
    with refused("no image at", "cat.jpg"):
        gl.probe(vit, "cat.jpg")
    with refused("a dict is no image", "a path"):
        gl.probe(cnn, {"image": 3})
    with refused("a Digits is no image", "a Batch"):
        gl.probe(cnn, gl.load_data("digits").source)
    with refused("no image", "at least one"):
        gl.probe(vit, [])
    with refused("differ in size", "200×180", "170×240"):
        gl.probe(cnn, cats)
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
            call(cnn, torch.rand(2, 3, 32, 32), [9, 10])
    with refused("[0, 1]", "normalise"):
        gl.probe(cnn, torch.randn(1, 3, 32, 32))
    with refused("shape (32, 32)", "probe.batch.image"):
        gl.probe(cnn, torch.rand(1, 3, 32, 32)).at(torch.rand(32, 32))
    with refused("a ndarray"):
        gl.probe(cnn, torch.rand(1, 3, 32, 32)).at(np.zeros((1, 3, 32, 32)))


def test_a_request_beyond_the_memory_is_refused_with_an_estimate(cnn, monkeypatch):
    two = gl.probe(cnn, torch.rand(2, 3, 32, 32))
    two.gradient()
    each = opening.TRANSIENT * sum(two.held.values()) / 2
    decoded = []
    monkeypatch.setattr(opening, "to_tensor", lambda i, how, channels: decoded.append(1) or torch.rand(1, 3, 32, 32))
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
    # Looked at for soundness once the hook is there, so that the measured passes are counted alone.
    monkeypatch.setattr(opening, "quickest", lambda model, batch: model)
    cnn.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(opening, "_bytes_an_image", lambda *_: 100)
    monkeypatch.setattr(opening, "available_bytes", lambda device: 2**40 if sizes else 2 * 100 * 7)
    pieces = gl.input_gradient(cnn, digits.image, digits.target, of)
    assert sizes == [7] * 9 + [1]
    assert relative_error(pieces, whole).max() < 1e-5


def test_gradients_that_do_not_fit_themselves_are_refused(cnn, digits, monkeypatch):
    monkeypatch.setattr(opening, "available_bytes", lambda device: digits.image.nbytes - 1)
    monkeypatch.setattr(opening, "PIECE", 16)
    with refused("the gradients of 64 images take 786 kB", "gl.analyze"):
        gl.input_gradient(cnn, digits.image)


def test_arrays_and_probe_agree_on_what_an_image_is():
    image = np.random.default_rng(0).random((2, 3, 8, 8))
    assert torch.equal(opening._stacked(opening._listed(image), _Bare()), Arrays(image).images)


class _Bare:
    class card:  # noqa: N801
        preprocess, name, mean = None, "bare", (0.5,) * 3
