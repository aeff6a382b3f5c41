"""The local Lipschitz constant is that of a linear network and of a dense search; Yang et al.'s number is theirs."""

import itertools

import pytest
import torch
from torch import nn

from gradlens import UserError
from gradlens.analyzers._local_lipschitz import LocalLipschitz
from gradlens.core.seeds import image_normal
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe


def inner(count, *shape):
    """Images so far from 0 and 1 that no ball is cut."""
    return Batch(0.4 + 0.2 * torch.rand(count, *shape), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_of_a_linear_network_it_is_the_norm_from_linf_to_l1():
    net, batch = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), inner(8, 3, 8, 8)
    # max ‖W d‖₁ over |d| ≤ 1 is max ‖Wᵀ s‖₁ over all signs s.
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
    truth = (signs @ net[1].weight).abs().sum(1).max().item()
    found = LocalLipschitz().measure(Probe(net, batch))["local_lipschitz"]
    assert (found > 0.98 * truth).all()
    assert (found < 1.000001 * truth).all()


def test_of_a_tanh_network_it_is_that_of_a_dense_search():
    net, batch, eps = nn.Sequential(nn.Flatten(), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)), inner(6, 1, 1, 2), 0.3
    with torch.no_grad():
        net[1].weight.mul_(5)
        side = torch.linspace(-eps, eps, 601, dtype=torch.float64)
        grid = torch.cartesian_prod(side, side)
        grid = grid[grid.abs().amax(1) > 1e-4]
        exact = nn.Sequential(*net).double()
        truth = []
        for image in batch.image.double():
            moved = exact(image + grid.view(-1, 1, 1, 2)) - exact(image[None])
            truth.append((moved.abs().sum(1) / grid.abs().amax(1)).max())
    net.float()
    found = LocalLipschitz(eps=eps).measure(Probe(net, batch))["local_lipschitz"]
    assert (found > 0.98 * torch.stack(truth)).all()
    assert (found < 1.02 * torch.stack(truth)).all()


def test_over_the_margin_it_does_not_know_the_scale_of_the_logits(cnn, batch):
    some = batch[slice(0, 4)]
    once = LocalLipschitz(steps=2, restarts=1, between=1).measure(Probe(cnn, some))
    with torch.no_grad():
        cnn.net[-1].weight.mul_(8)
        cnn.net[-1].bias.mul_(8)
    eightfold = LocalLipschitz(steps=2, restarts=1, between=1).measure(Probe(cnn, some))
    torch.testing.assert_close(eightfold["local_lipschitz"], 8 * once["local_lipschitz"], rtol=1e-5, atol=0)
    torch.testing.assert_close(eightfold["local_lipschitz_scaled"], once["local_lipschitz_scaled"], rtol=1e-5, atol=0)


def test_yang2020_is_the_published_procedure_image_by_image(cnn, batch):
    some, eps = batch[slice(0, 4)], 8 / 255
    found = LocalLipschitz("yang2020", eps).measure(Probe(cnn, some))["local_lipschitz"]
    assert (
        found < LocalLipschitz(eps=eps, steps=2, restarts=2, between=1).measure(Probe(cnn, some))["local_lipschitz"]
    ).all()
    for row in range(4):
        image = some.image[row : row + 1]
        noise = image_normal(0, some.index[row : row + 1], "local_lipschitz/yang2020", (3, 32, 32)).float()

        def ratio(x, image=image):
            return (cnn(image) - cnn(x)).abs().sum() / (image - x + 1e-6).abs().max()

        x = image + 0.001 * noise
        for _ in range(10):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(-ratio(x), x)
            x = (x + 0.003 * slope.sign()).detach()
            x = torch.minimum(torch.maximum(x, image - eps), image + eps).clamp(0, 1)
        # One sign of a pixel's slope near 0 may turn with the batch's size.
        assert found[row].item() == pytest.approx(ratio(x).item(), rel=0.01)


@pytest.mark.parametrize("wrong", [{"estimator": "exact"}, {"eps": 0.0}, {"eps": 2.0}, {"steps": 0}, {"restarts": 0}])
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(UserError):
        LocalLipschitz(**wrong)
