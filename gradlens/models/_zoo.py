"""Small architectures that timm lacks, with the parameter names that published checkpoints use."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from gradlens.models._activations import make_activation


def digits_cnn(num_classes: int = 10, activation: str = "gelu", width: int = 16) -> nn.Sequential:
    """A CNN for 32 × 32 images: three 3 × 3 convolutions with BatchNorm (16-32-64 channels), pooled."""
    w, act = width, partial(make_activation, activation)
    return nn.Sequential(
        *(nn.Conv2d(3, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), act()),
        *(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * w), act()),
        *(nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4 * w), act()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * w, num_classes)),
    )


class _CifarBlock(nn.Module):
    """He et al. 2016, CIFAR: two 3 × 3 convolutions; a shortcut that subsamples and pads, without weights."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.stride, self.grown = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self.grown:
            half = self.grown // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return self.act2(out + x)


class CifarResNet(nn.Module):
    """ResNet of 6n + 2 layers for 32 × 32 images (He et al. 2016); n = 3 is ResNet-20."""

    def __init__(self, n: int = 3, num_classes: int = 10):
        super().__init__()
        self.conv1, self.bn1, self.act = _conv3(3, 16), nn.BatchNorm2d(16), nn.ReLU()
        self.layer1 = _stack(_CifarBlock, 16, 16, n, 1)
        self.layer2 = _stack(_CifarBlock, 16, 32, n, 2)
        self.layer3 = _stack(_CifarBlock, 32, 64, n, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class _PreActBlock(nn.Module):
    """He et al. 2016, identity mappings: normalisation and activation before each convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _conv3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), _conv3(outputs, outputs)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(x))
        skip = self.shortcut(out) if hasattr(self, "shortcut") else x
        return self.conv2(self.act2(self.bn2(self.conv1(out)))) + skip


class PreActResNet(nn.Module):
    """PreActResNet-18 for 32 × 32 images; ``final_norm`` adds the last BatchNorm that some training codes have."""

    def __init__(self, num_classes: int = 10, final_norm: bool = False):
        super().__init__()
        self.conv1 = _conv3(3, 64)
        self.layer1 = _stack(_PreActBlock, 64, 64, 2, 1)
        self.layer2 = _stack(_PreActBlock, 64, 128, 2, 2)
        self.layer3 = _stack(_PreActBlock, 128, 256, 2, 2)
        self.layer4 = _stack(_PreActBlock, 256, 512, 2, 2)
        if final_norm:
            self.bn, self.act = nn.BatchNorm2d(512), nn.ReLU()
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        if hasattr(self, "bn"):
            x = self.act(self.bn(x))
        return self.linear(x.mean((2, 3)))


class _WideBlock(nn.Module):
    """Zagoruyko & Komodakis 2016; where the width changes, the shortcut starts after the first activation."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU()
        self.conv1, self.bn2, self.relu2 = _conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU()
        self.conv2 = _conv3(outputs, outputs)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(x))
        skip = x if self.convShortcut is None else self.convShortcut(out)
        return self.conv2(self.relu2(self.bn2(self.conv1(out)))) + skip


class _WideStage(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int):
        super().__init__()
        self.layer = _stack(_WideBlock, inputs, outputs, blocks, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-depth-widen for 32 × 32 images; 28-10 is the field's robust baseline."""

    def __init__(self, depth: int = 28, widen: int = 10, num_classes: int = 10):
        super().__init__()
        blocks, wide = (depth - 4) // 6, 16 * widen
        self.conv1 = _conv3(3, 16)
        self.block1 = _WideStage(16, wide, blocks, 1)
        self.block2 = _WideStage(wide, 2 * wide, blocks, 2)
        self.block3 = _WideStage(2 * wide, 4 * wide, blocks, 2)
        self.bn1, self.relu = nn.BatchNorm2d(4 * wide), nn.ReLU()
        self.fc = nn.Linear(4 * wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.relu(self.bn1(x)).mean((2, 3)))


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def _stack(block: type[nn.Module], inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    first = block(inputs, outputs, stride)
    return nn.Sequential(first, *(block(outputs, outputs, 1) for _ in range(count - 1)))


def resnet20_cifar(num_classes: int = 10) -> CifarResNet:
    """CIFAR ResNet-20, 0.27 M parameters."""
    return CifarResNet(3, num_classes)


def preactresnet18(num_classes: int = 10, final_norm: bool = False) -> PreActResNet:
    """PreActResNet-18 for 32 × 32 images, 11.2 M parameters."""
    return PreActResNet(num_classes, final_norm)


def wrn_28_10(num_classes: int = 10, depth: int = 28, widen: int = 10) -> WideResNet:
    """WRN-28-10, 36.5 M parameters; depth and widen make its relatives."""
    return WideResNet(depth, widen, num_classes)


ZOO = {f.__name__: f for f in (digits_cnn, resnet20_cifar, preactresnet18, wrn_28_10)}
