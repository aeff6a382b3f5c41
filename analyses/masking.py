"""Do the masking checks know masked gradients? Twenty masked networks and twenty honest ones, half of them unseen.

    python analyses/masking.py

Small networks on digits at 8 × 8. Every masked network is the same honest one behind a mask of its kind; masked it is
called where an adaptive attack (made on what is behind the mask, and carried over) gains more than 5 points over PGD.
The limits of ``masking`` were set on the first ten kinds of either list and are scored on the others. Writes
results/masking.json.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from _seeds import write
from torch import Tensor, nn

import gradlens as gl
from gradlens import Batch, Probe, load_data
from gradlens.analyzers._masking import LIMITS, Masking
from gradlens.models import Classifier

EPS, SHAPE = 0.06, (3, 8, 8)
CHECKS = Masking(eps=EPS, queries=100)


def images(split: str, count: int) -> Batch:
    found = load_data("digits", split=split).batch(range(count))
    return Batch(F.avg_pool2d(found.image, 4), found.target, found.index)


def trained(
    act: Callable = nn.GELU, hidden: int = 48, noise: float = 0.05, eps: float = 0.0, norm: float = 0.0
) -> nn.Module:
    """A network of one hidden layer; eps: of FGSM in training, norm: the weight of the gradient's L1 norm."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, hidden), act(), nn.Linear(hidden, 10)) if hidden else linear()
    batch, optimizer = images("train", 1000), torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(150):
        rows = torch.randint(len(batch), (128,))
        image = (batch.image[rows] + noise * torch.randn(128, *SHAPE)).clamp(0, 1).requires_grad_()
        loss = F.cross_entropy(net(image - 0.5), batch.target[rows])
        (slope,) = torch.autograd.grad(loss, image, create_graph=norm > 0, retain_graph=True)
        if eps:
            loss = F.cross_entropy(net((image + eps * slope.sign()).detach() - 0.5), batch.target[rows])
        optimizer.zero_grad()
        (loss + norm * 128 * slope.abs().flatten(1).sum(1).mean()).backward()
        optimizer.step()
    return nn.Sequential(Shift(), net).eval().requires_grad_(False)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))


class Shift(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image - 0.5


class Of(nn.Module):
    """A function of images through a network."""

    def __init__(self, net: nn.Module, function: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(self.net, image)


class Backward(torch.autograd.Function):
    """An image as it is, whose gradient is another's."""

    @staticmethod
    def forward(ctx, image: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return image.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


def changed(change: Callable[[Tensor], Tensor]) -> Callable:
    return lambda net, x: net(Backward.apply(x, change))


def noise_like(gradient: Tensor) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).expand_as(gradient) * gradient.abs().mean(
        (1, 2, 3), True
    )


def hidden(function: Callable[[Tensor], Tensor]) -> Callable:
    """The network with a function of its hidden units."""

    def run(net: nn.Module, x: Tensor) -> Tensor:
        layers = list(net[1])
        return layers[3](function(layers[2](layers[1](layers[0](x - 0.5)))))

    return run


def steps_of(x: Tensor, levels: float) -> Tensor:
    return (x * levels).round() / levels


def saw(x: Tensor) -> Tensor:
    """Rises in steps of .1, and falls between them."""
    return steps_of(x, 10) - 0.5 * (x - steps_of(x, 10))


def ripple(x: Tensor) -> Tensor:
    return x + 0.02 * torch.sin(2000 * x)


def spectrum_steps(x: Tensor) -> Tensor:
    parts = torch.view_as_real(torch.fft.rfft2(x))
    return torch.fft.irfft2(torch.view_as_complex(steps_of(parts, 2)), s=SHAPE[1:])


def thermometer(x: Tensor) -> Tensor:
    return sum((x > level / 6).float() for level in range(6)) / 6 + 0 * x


MASKS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "logits in steps": lambda net, x: steps_of(net(x), 1),
    "pixels in steps": lambda net, x: net(steps_of(x, 8)),
    "gradient reversed": changed(torch.neg),
    "ripples on pixels": lambda net, x: net(ripple(x)),
    "gradient of noise": changed(noise_like),
    "gradient of a side path": lambda net, x: net(x.detach()) + 1e-3 * x.flatten(1)[:, 50:60],
    "binary units": hidden(lambda units: 2 * (units > 0.3).float() + 0 * units),
    "gradient without signs": changed(torch.abs),
    "logits clipped": lambda net, x: net(x).clamp(-1, 1) + 0.01 * net(x).detach(),
    "logits of the winner": lambda net, x: 9 * F.one_hot(net(x).argmax(1), 10).float() + 0 * x.flatten(1)[:, :10],
    # Not looked at before the limits were set.
    "thermometer": lambda net, x: net(thermometer(x)),
    "steps that fall between": lambda net, x: net(saw(x)),
    "spectrum in steps": lambda net, x: net(spectrum_steps(x)),
    "gradient moved": changed(lambda g: g.roll((3, 4), (2, 3))),
    "gradient of one row": changed(lambda g: g * F.one_hot(torch.tensor(7), 8).float()[:, None]),
    "units in steps": hidden(lambda units: steps_of(units, 0.7)),
    "probabilities, saturated": lambda net, x: 2 * (60 * net(x)).softmax(1),
    "a wave in the logits": lambda net, x: (
        net(x) + 0.5 * torch.sin(3000 * x.mean((1, 2, 3)))[:, None] * torch.arange(10) / 5
    ),
    "gradient of another image": changed(lambda g: g.flip(2, 3)),
    "pixels in two steps": lambda net, x: net(steps_of(x, 3)),
}
HONEST: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: trained(hidden=0),
    "GELU": trained,
    "ReLU": lambda: trained(nn.ReLU),
    "FGSM": lambda: trained(eps=0.05),
    "GradNorm": lambda: trained(norm=0.02),
    "logits times 10,000": lambda: Of(trained(), lambda net, x: 1e4 * net(x)),
    "logits over 10,000": lambda: Of(trained(), lambda net, x: 1e-4 * net(x)),
    "saturated": lambda: Of(trained(), lambda net, x: 10 * (net(x) / 10).tanh()),
    "noise": lambda: trained(noise=0.2),
    "wide": lambda: trained(hidden=256),
    # Not looked at before the limits were set.
    "SiLU": lambda: trained(nn.SiLU),
    "Tanh": lambda: trained(nn.Tanh),
    "Sigmoid": lambda: trained(nn.Sigmoid),
    "ReLU, GradNorm": lambda: trained(nn.ReLU, norm=0.02),
    "ReLU, logits times a million": lambda: Of(trained(nn.ReLU), lambda net, x: 1e6 * net(x)),
    "ReLU, FGSM": lambda: trained(nn.ReLU, eps=0.05),
    "blurred pixels": lambda: Of(
        trained(), lambda net, x: net(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "replicate"), 3, 1))
    ),
    "gray pixels": lambda: Of(trained(), lambda net, x: net(x.mean(1, keepdim=True).expand_as(x))),
    "log-probabilities": lambda: Of(trained(), lambda net, x: net(x).log_softmax(1)),
    "narrow": lambda: trained(hidden=12),
}


def classifier(net: nn.Module) -> Classifier:
    return gl.load_model(net, mean=(0.0,) * 3, std=(1.0,) * 3, device="cpu")


def adaptive_gain(probe: Probe, behind: Classifier) -> float:
    """Points that attacks on what is behind the mask, carried over, gain over PGD of ten steps."""
    plain = probe.correct & gl.attack(probe, "pgd", "-margin", eps=EPS, steps=10).correct
    left = plain.clone()
    for seed, objective in enumerate(("-margin", "loss")):
        look = Probe(behind, probe.batch, seed=seed)
        left &= probe.at(gl.attack(look, "pgd", objective, eps=EPS, steps=20).batch.image).correct
    left &= gl.attack(probe, "square", "-margin", eps=EPS, queries=150).correct
    left &= gl.attack(probe, "pgd", "-margin", eps=EPS, steps=50).correct
    return 100 * float((plain & ~left).double().sum() / probe.correct.double().sum())


def checked(net: nn.Module, behind: nn.Module, count: int = 60) -> dict[str, float]:
    """The verdict, every sign, and the truth."""
    model, batch = classifier(net), images("test", count)
    columns = CHECKS.measure(Probe(model, batch))
    scalars = CHECKS.summarize(pd.DataFrame({k: v.numpy() for k, v in columns.items()}), {}).scalars
    signs = {name: scalars[name] for name in ("masked", *LIMITS)}
    probe = Probe(model, batch)
    gain = adaptive_gain(probe, classifier(behind))
    found = {"clean": 100 * float(probe.correct.double().mean()), **signs, "adaptive gain": gain}
    print(found, flush=True)
    return found


if __name__ == "__main__":
    base = trained()
    rows = {"honest": {name: checked(net := build(), net) for name, build in HONEST.items()}}
    rows["masked"] = {name: checked(Of(base, mask), base) for name, mask in MASKS.items()}
    score = {kind: sum(found["masked"] for found in list(of.values())[10:]) for kind, of in rows.items()}
    write("masking", {"eps": EPS, "limits": LIMITS, "called masked, of ten unseen": score, **rows})
