"""Curvature is Lanczos' largest eigenvalue over the gradient; the paper's estimate is its own; ReLU has none."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import frame
from scipy.sparse.linalg import LinearOperator, eigsh

import gradlens as gl
from gradlens import UserError
from gradlens.analyzers._curvature import Curvature, published_norm
from gradlens.models._zoo import digits_cnn
from gradlens.probes.hessian import Hessian
from gradlens.probes.probe import Probe

HALF = (0.5, 0.5, 0.5)


def exact(model, batch, row):
    """The gradient of one image's loss in float64, and products with its Hessian."""
    image = batch.image[row : row + 1].double().requires_grad_()
    loss = F.cross_entropy(copy.deepcopy(model).double()(image), batch.target[row : row + 1])
    (gradient,) = torch.autograd.grad(loss, image, create_graph=True)

    def product(u):
        u = torch.from_numpy(u).view_as(image)
        return torch.autograd.grad(gradient, image, u, retain_graph=True)[0].numpy().ravel()

    return gradient.detach().numpy().ravel(), product


def test_curvature_is_lanczos_eigenvalue_over_the_gradient(cnn, batch):
    found = Curvature().measure(Probe(cnn, batch))
    for row in range(8):
        gradient, product = exact(cnn, batch, row)
        operator = LinearOperator((gradient.size,) * 2, matvec=product, dtype=float)
        norm = abs(eigsh(operator, k=1, which="LM", return_eigenvectors=False)[0])
        assert found["hessian_norm"][row].item() == pytest.approx(norm, rel=0.01)
        assert found["curvature"][row].item() == pytest.approx(norm / (np.linalg.norm(gradient) + 1e-6), rel=0.01)


def test_the_papers_estimate_is_its_procedure_in_float64(cnn, batch):
    some, u = batch[slice(0, 4)], Hessian(Probe(cnn, batch[slice(0, 4)])).noise()
    found = published_norm(Hessian(Probe(cnn, some)), 3, u)
    for row in range(4):
        _, product = exact(cnn, some, row)
        direction = u[row].double().numpy().ravel()
        for _ in range(3):
            turned = product(direction)
            value, direction = abs(direction @ turned), turned / (np.linalg.norm(turned) + 1e-6)
        assert found[row].item() == pytest.approx(value, rel=1e-3)


def test_a_piecewise_linear_network_has_no_curvature_and_the_reason(batch):
    model = gl.load_model(digits_cnn(activation="relu", width=4), mean=HALF, std=HALF, device="cpu")
    chosen, probe = Curvature(), Probe(model, batch)
    columns = chosen.measure(probe)
    assert all(values.isnan().all() for values in columns.values())
    summary = chosen.summarize(frame(probe, columns), {})
    assert "piecewise linear" in summary.missing["curvature_median"]
    assert np.isnan(summary.scalars["hessian_norm_mean"])


def test_images_that_have_not_converged_are_counted(cnn, batch):
    chosen, probe = Curvature(steps=3, tolerance=1e-9), Probe(cnn, batch)
    summary = chosen.summarize(frame(probe, chosen.measure(probe)), {})
    assert summary.scalars["hessian_unconverged"] == 100


@pytest.mark.parametrize("wrong", [{"estimator": "lanczos"}, {"tolerance": 0.0}, {"steps": 1}])
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(UserError, match="curvature"):
        Curvature(**wrong)
