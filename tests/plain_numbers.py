"""The plain framework's number for other people's files and networks: what is opened, and autograd alone beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import nn

import gradlens as gl

HALF = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Case:
    """What is opened, and how; the plain network; how its input is normalised; the side of the images."""

    spec: Any
    plain: nn.Module | Callable
    mean_std: Any = HALF
    side: int | tuple[int, int] = 32
    options: dict[str, Any] = field(default_factory=dict)
    channels: int = 3
    tolerance: float = 1e-5


def images_of(case: Case, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    sides = case.side if isinstance(case.side, tuple) else (case.side, case.side)
    return torch.rand(count, case.channels, *sides, generator=generator), torch.arange(count) % 3


def plain_l1(case: Case) -> np.ndarray:
    """‖∇ cross-entropy‖₁ of each image, one image at a time, by autograd alone."""
    x, y = images_of(case)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in case.mean_std) if case.mean_std else (0.0, 1.0)
    found = []
    for i in range(len(x)):
        pixels = x[i : i + 1].clone().requires_grad_()
        loss = F.cross_entropy(case.plain((pixels - mean) / std).float(), y[i : i + 1])
        found.append(float(torch.autograd.grad(loss, pixels)[0].abs().sum()))
    return np.array(found)


def small(seed: int = 0, **options: Any) -> nn.Module:
    """timm's smallest ResNet with statistics of its own, so that no two settings agree by chance."""
    torch.manual_seed(seed)
    net = timm.create_model("test_resnet", num_classes=5, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def saved(folder: Path, content: Any, name: str = "ckpt.pth") -> str:
    torch.save(content, folder / name)
    return str(folder / name)


def arguments(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"model": "test_resnet", "num_classes": 5, "mean": None, "std": None, **given})


def timms(name: str) -> Any:
    config = timm.get_pretrained_cfg(name)
    return config.mean, config.std


WAYS = ("analyze", "input_gradient")


def check(case: Case, way: str) -> None:
    """What a run, or the session, says of the images is the plain framework's number."""
    wanted = plain_l1(case)
    model = gl.load_model(case.spec, **{"device": "cpu", **case.options})
    x, y = images_of(case)
    if way == "analyze":
        data = gl.load_data((x, y.numpy()))
        found = gl.analyze(model, data, ["sample_asymmetry"], progress=False, examples=0).samples["l1"].to_numpy()
    else:
        found = gl.input_gradient(model, x, y).double().abs().sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=case.tolerance)


def trained(net):
    """Every weight and statistic of a network moved away from where it began, in place."""
    generator = torch.Generator().manual_seed(9)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.empty(tensor.shape).uniform_(0.01, 0.1, generator=generator))
        else:
            tensor.add_(7)
    return net
