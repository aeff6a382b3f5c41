"""What a penalised training step costs beside a plain one and a PGD-3 one, and how exact it is; two cores, float32.

    python benchmarks/penalised_step.py [ROUNDS]

A step is a forward pass, the gradients and an SGD update. PGD-3 is the cheapest there is: three attack steps
by the image alone, with frozen weights, and one training step. What a check against double backward costs is
measured by itself and divided by the steps from one to the next.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from side_by_side import in_turns, ratio, write
from torch import nn

from gradlens import Batch, load_data, load_model, swap_activations
from gradlens.models import Classifier
from gradlens.models._zoo import digits_cnn
from gradlens.training.engines import (
    CheckedFiniteDifference,
    FiniteDifference,
    agreement,
    double_backward,
    kink,
    plain_step,
)
from gradlens.training.penalties import choose_penalty

PENALTIES = {"gradnorm": choose_penalty("gradnorm"), "edge": choose_penalty("edge")}
EPS, WEIGHT = 4 / 255, 1.2
CHECKED = CheckedFiniteDifference()


def classifier(net: nn.Module) -> Classifier:
    return load_model(net, mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")


def digits(images: int) -> Batch:
    return load_data("digits", split="train").batch(range(images))


def photos(images: int, side: int) -> Batch:
    data = load_data("photos", split="train")
    batch = data.batch(range(images))
    image = F.interpolate(batch.image, size=side, mode="bilinear", antialias=True).clamp(0, 1)
    return Batch(image, batch.target % 10, batch.index)


def resnet18(activation: str) -> nn.Module:
    net = timm.create_model("resnet18", num_classes=10)
    swap_activations(net, activation)
    return net


def vit_tiny(side: int) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=side, num_classes=10)


def cost(net: nn.Module, batch: Batch, rounds: int) -> dict:
    model = classifier(net).to(batch.image.device).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

    def stepping(fill: Callable[[], object]) -> Callable[[], None]:
        def step() -> None:
            optimizer.zero_grad()
            fill()
            optimizer.step()

        return step

    ways = {"plain": stepping(lambda: plain_step(model, batch)), "PGD-3": stepping(lambda: pgd3_step(model, batch))}
    for name, penalty in PENALTIES.items():
        for engine, run in (("finite difference", FiniteDifference()), ("double backward", double_backward)):
            ways[f"{name}, {engine}"] = stepping(lambda p=penalty, r=run: r(model, batch, p, WEIGHT))
        some = batch[slice(0, CHECKED.check_images)]
        ways[f"{name}, check"] = lambda p=penalty, s=some: agreement(CHECKED.fast, model, s, p)
    seconds = in_turns(ways, rounds)
    for name in PENALTIES:
        pairs = zip(seconds[f"{name}, finite difference"], seconds[f"{name}, check"], strict=True)
        seconds[f"{name}, checks included"] = [fast + check / CHECKED.check_every for fast, check in pairs]
    found = [way for way in seconds if way != "plain" and not way.endswith("check")]
    return {
        "batch size": len(batch),
        "side": batch.image.shape[2],
        "rounds": rounds,
        "seconds of a plain step": min(seconds["plain"]),
        "over a plain step": {way: ratio(seconds, way, "plain") for way in found},
        "over a PGD-3 step": {way: ratio(seconds, way, "PGD-3") for way in found if way != "PGD-3"},
    }


def memory(net: nn.Module, batch: Batch) -> dict[str, float]:
    """The most bytes that a step holds for its backward passes, over a plain step's."""
    model = classifier(net).to(batch.image.device).train()
    steps = {"plain": lambda: plain_step(model, batch)}
    for name, penalty in PENALTIES.items():
        steps[f"{name}, finite difference"] = lambda p=penalty: FiniteDifference()(model, batch, p, WEIGHT)
        steps[f"{name}, double backward"] = lambda p=penalty: double_backward(model, batch, p, WEIGHT)
    held = {name: most_held(step) for name, step in steps.items()}
    return {name: most / held["plain"] for name, most in held.items() if name != "plain"}


def most_held(step: Callable[[], object]) -> int:
    """Bytes of the storages that autograd keeps, at their most."""
    users: Counter[int] = Counter()
    bytes_of: dict[int, int] = {}
    most = 0

    class Held:
        def __init__(self, tensor: torch.Tensor):
            nonlocal most
            storage = tensor.untyped_storage()
            self.tensor, self.key = tensor, storage.data_ptr()
            users[self.key] += 1
            bytes_of[self.key] = storage.nbytes()
            most = max(most, sum(bytes_of.values()))

        def __del__(self) -> None:
            users[self.key] -= 1
            if not users[self.key]:
                bytes_of.pop(self.key, None)

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        step()
    return most


def pgd3_step(model: Classifier, batch: Batch) -> None:
    model.requires_grad_(False).eval()
    image = (batch.image + EPS * (2 * torch.rand_like(batch.image) - 1)).clamp(0, 1)
    for _ in range(3):
        image = image.detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(image), batch.target, reduction="sum"), image)
        moved = image.detach() + 2 / 3 * EPS * slope.sign()
        image = (batch.image + (moved - batch.image).clamp(-EPS, EPS)).clamp(0, 1)
    model.requires_grad_(True).train()
    plain_step(model, Batch(image, batch.target, batch.index))


def exactness(net: nn.Module, batch: Batch) -> dict:
    """Cosines with double backward in float64, before and after thirty steps of training."""
    model, found = classifier(net).to(batch.image.device), {}
    for stage in ("initialised", "trained"):
        if stage == "trained":
            train(model, batch)
        for mode in ("eval", "train"):
            model.train(mode == "train")
            for name, penalty in PENALTIES.items():
                exact = slopes(double_backward, copy.deepcopy(model).double(), doubled(batch), penalty)
                fast = slopes(FiniteDifference(), copy.deepcopy(model), batch, penalty)
                cosine = float(F.cosine_similarity(fast, exact, dim=0))
                found[f"{stage}, {mode} mode, {name}"] = {
                    "cosine": cosine,
                    "length": float(fast.norm() / exact.norm()),
                    "kink": kink(FiniteDifference(), model, batch, penalty),
                }
    return found


def train(model: Classifier, batch: Batch, steps: int = 30) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        plain_step(model, batch)
        optimizer.step()


def slopes(engine: Callable, model: Classifier, batch: Batch, penalty: Callable) -> torch.Tensor:
    engine(model, batch, penalty, 1.0, loss_weight=0.0)
    return torch.cat([p.grad.double().flatten() for p in model.parameters()])


def doubled(batch: Batch) -> Batch:
    return Batch(batch.image.double(), batch.target, batch.index)


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    networks = {
        "CNN, GELU": (digits_cnn(), digits(32)),
        "CNN, ReLU": (digits_cnn(activation="relu"), digits(32)),
        "ResNet-18, GELU, max-pool": (resnet18("gelu"), photos(16, 64)),
        "ViT-tiny": (vit_tiny(64), photos(16, 64)),
    }
    agreements = {name: exactness(net, batch) for name, (net, batch) in networks.items()}
    costs = {
        "CNN": cost(digits_cnn(), digits(128), rounds),
        "ViT-tiny": cost(vit_tiny(64), photos(32, 64), rounds),
    }
    kept = {"CNN": memory(digits_cnn(), digits(128)), "ViT-tiny": memory(vit_tiny(64), photos(32, 64))}
    settings = {"relative step": FiniteDifference().relative_step, "steps from check to check": CHECKED.check_every}
    write(
        "penalised_step",
        {**settings, "cost": costs, "memory over a plain step": kept, "with double backward in float64": agreements},
    )
