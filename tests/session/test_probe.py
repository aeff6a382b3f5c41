"""A probe shows its image, gradient and edges, and is a small page that runs nothing."""

import numpy as np
import pytest
from drawn import picture_in, shown, titles
from torch import nn

import gradlens as gl

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
