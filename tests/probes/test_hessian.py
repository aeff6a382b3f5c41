"""Second derivatives are those of known functions, and are told to be missing where a network has none."""

import pytest
import torch
from torch import nn

from gradlens.core.types import Batch
from gradlens.probes.hessian import Hessian
from gradlens.probes.probe import Probe

SIDE = 4
SIZE = 3 * SIDE**2


class Quadratic(nn.Module):
    """Two logits, of which the second is ``½ xᵀ A x + b·x``."""

    def __init__(self, matrix, slope=0.0):
        super().__init__()
        self.matrix, self.slope = matrix, slope

    def forward(self, image):
        x = image.flatten(1)
        value = 0.5 * ((x @ self.matrix) * x).sum(1) + self.slope * x.sum(1)
        return torch.stack([torch.zeros_like(value), value], 1)


def with_spectrum(values):
    basis = torch.linalg.qr(torch.randn(SIZE, SIZE)).Q
    return basis @ torch.diag(torch.cat([torch.tensor(values), torch.zeros(SIZE - len(values))])) @ basis.T


@pytest.fixture
def images():
    return Batch(torch.rand(6, 3, SIDE, SIDE), torch.ones(6, dtype=torch.long), torch.arange(6))


@pytest.mark.parametrize("spectrum", [(3.0, -1.0), (1.0, -4.0), (2.0, -2.0, 1.0), (1.0, 0.97, -0.95)])
def test_the_spectral_norm_is_the_largest_eigenvalue_whatever_its_sign(images, spectrum):
    found = Hessian(Probe(Quadratic(with_spectrum(spectrum)), images), "true_logit").spectral(1e-4, 400)
    assert found.converged.all()
    torch.testing.assert_close(found.norm, torch.full((6,), max(map(abs, spectrum))).double(), rtol=5e-3, atol=0)


def test_a_norm_that_has_not_converged_says_so_and_is_below(images):
    found = Hessian(Probe(Quadratic(with_spectrum((1.0, -0.99))), images), "true_logit").spectral(1e-6, 4)
    assert not found.converged.any()
    assert (found.norm < 1).all()
    assert (found.steps == 4).all()


def test_a_product_is_that_of_the_matrix(images):
    matrix, direction = with_spectrum((3.0, -1.0, 0.5)), torch.randn_like(images.image)
    hessian = Hessian(Probe(Quadratic(matrix), images), "true_logit")
    found = hessian.product(direction) * hessian.scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(found.flatten(1), (direction.flatten(1) @ matrix).double(), rtol=1e-4, atol=1e-5)


def test_a_confident_images_hessian_does_not_underflow(images):
    # The loss is e^−f to first order, so its Hessian is e^−f (s sᵀ − A).
    matrix, slope, x = with_spectrum((3.0, -1.0)), 8.0, images.image.double().flatten(1)
    hessian = Hessian(Probe(Quadratic(matrix, slope), images), "loss")
    value = 0.5 * ((x @ matrix.double()) * x).sum(1) + slope * x.sum(1)
    assert (value > 110).all(), "float32 has no e^-110"
    s = x @ matrix.double() + slope
    expected = [torch.linalg.eigvalsh(torch.outer(a, a) - matrix.double()).abs().max() for a in s]
    found = hessian.spectral(1e-4, 400).norm * value.exp()
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("middle", "kinked"), [(nn.ReLU(), True), (nn.MaxPool2d(2), True), (nn.GELU(), False), (nn.Identity(), False)]
)
def test_a_piecewise_linear_network_is_told_from_a_smooth_and_from_a_linear_one(images, middle, kinked):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), middle, nn.Flatten(), nn.LazyLinear(3))
    net(images.image)
    assert Hessian(Probe(net, images)).kinked().tolist() == [kinked] * 6


def test_the_model_is_left_as_it_was(cnn, batch):
    cnn.train()
    Hessian(Probe(cnn, batch)).spectral(0.1, 3)
    assert cnn.training
    assert all(p.requires_grad and p.grad is None for p in cnn.parameters())
