"""A classifier normalises once, gives logits, and folds its BatchNorms exactly or not at all."""

from __future__ import annotations

import pytest
import timm
import torch
from refusals import refused
from torch import nn

from gradlens import load_model
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def images(side=32, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def net_with(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)).eval()


def test_mean_and_std_are_applied_per_channel():
    net = digits_cnn().eval()
    expected = net((images() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(load_model(net, mean=MEAN, std=STD)(images()), expected)
    torch.testing.assert_close(load_model(net, normalized=True)(images()), net(images()))


def randomised(name, **options):
    """A timm network whose BatchNorm statistics are not the trivial ones."""
    model = load_model(f"timm:{name}", weights="random", **options)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5)):
                tensor.uniform_(low, high, generator=generator)
            for tensor, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.2, 0.2)):
                tensor.data.uniform_(low, high, generator=generator)
    return model


def output_and_gradient(model, side):
    image = images(side, 1).to(model.mean.dtype).requires_grad_()
    logits = model(image)
    weight = torch.linspace(-1, 1, logits.shape[1])
    return logits.detach(), torch.autograd.grad((logits * weight).sum(), image)[0]


def relative_error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("name", "sites", "side"),
    [("resnet18", 20, 64), ("resnet50", 53, 32), ("efficientnet_b0", 49, 32), ("test_vit", 0, 160)],
)
def test_folding_replaces_every_batchnorm_of_a_copy_exactly(name, sites, side):
    model = randomised(name).double()
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == sites
    before = {k: v.clone() for k, v in model.state_dict().items()}
    folded = model.folded()
    assert folded.card.folded == sites
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    for found, wanted in zip(output_and_gradient(folded, side), output_and_gradient(model, side), strict=True):
        assert relative_error(found, wanted) < 1e-12
    assert [n for n, _ in folded.named_modules()] == [n for n, _ in model.named_modules()]
    assert model.card.folded == 0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0"])
def test_folding_keeps_outputs_and_gradients_in_single_precision(name):
    # SiLU, since rounding alone can put a ReLU on the other side of its kink.
    model = randomised(name, activation="silu")
    for found, wanted in zip(output_and_gradient(model.folded(), 32), output_and_gradient(model, 32), strict=True):
        assert relative_error(found, wanted) < 1e-5


class ScaledNorm(nn.BatchNorm2d):
    def forward(self, x):
        return 3 * super().forward(x)


class Skipping(nn.Module):
    """The convolution is needed with and without its BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


def reused():
    conv = nn.Conv2d(3, 3, 1)
    return [conv, nn.BatchNorm2d(3), conv]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(3, 4, 3), ScaledNorm(4)],
        lambda: [nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)],
        lambda: [nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)],
        lambda: [timm.layers.StdConv2d(3, 4, 3), nn.BatchNorm2d(4)],
        lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)],
        lambda: [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
        reused,
        lambda: [Skipping()],
    ],
    ids=[
        *("own norm", "spectral norm", "weight norm", "standardised"),
        *("batch statistics", "not adjacent", "used twice", "used without"),
    ],
)
def test_what_cannot_be_folded_exactly_is_left_alone(layers):
    net = net_with(*layers())
    net(images())
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats):
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
    model = load_model(net, normalized=True)
    folded = model.folded()
    assert folded.card.folded == 0
    assert torch.equal(folded(images()), model(images()))


def test_a_network_that_cannot_be_traced_is_measured_as_it_is():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.norm(self.conv(x))
            return self.head(x.mean((2, 3)) if float(x.detach().sum()) > 0 else x.amax((2, 3)))

    model = load_model(Branching(), normalized=True)
    assert torch.equal(model.folded()(images()), model(images()))


@pytest.mark.parametrize(
    ("output", "said"),
    [(lambda x: (x.mean((2, 3)), x), "tuple"), (lambda x: {"logits": x}, "dict"), (lambda x: x, "(2, 3, 32, 32)")],
    ids=["tuple", "dict", "map"],
)
def test_anything_but_a_matrix_of_logits_is_refused(output, said):
    class Odd(nn.Module):
        def forward(self, x):
            return output(x)

    with refused("Odd", said, "logits (B, K)"):
        load_model(Odd(), normalized=True)(images())
