"""What the papers' networks cost on one GPU at the papers' sizes, float32 with TF32 off, 224².

    python benchmarks/on_gpu.py [ROUNDS]

A penalised training step beside a plain and a PGD-3 one, with its memory and its agreement with double backward
(penalised_step.py on ResNet-50 with GELU, 64 images, and on Swin-B, 38); and the loss gradient beside captum's.
"""

from __future__ import annotations

import sys

import timm
import torch
from penalised_step import cost, exactness, memory, photos
from probe_against_captum import compare
from side_by_side import write
from torch import nn

from gradlens import swap_activations
from gradlens.models.fresh import fixed_seed

CLASSES = 10
MEASURED = (("resnet50", 64), ("vit_small_patch16_224", 64), ("swin_tiny_patch4_window7_224", 64))


def resnet50() -> nn.Module:
    with fixed_seed(0):
        net = timm.create_model("resnet50", num_classes=CLASSES)
    swap_activations(net, "gelu")
    return net


def swin_b() -> nn.Module:
    with fixed_seed(0):
        return timm.create_model("swin_base_patch4_window7_224", num_classes=CLASSES, drop_path_rate=0.0)


if __name__ == "__main__":
    # Which torch allows convolutions by default: captum and PGD would run on them, our steps do not.
    torch.backends.cudnn.allow_tf32 = False
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    steps = {}
    for name, make, images in (("ResNet-50, GELU", resnet50, 64), ("Swin-B", swin_b, 38)):
        batch = photos(images, 224).to("cuda")
        steps[name] = {
            "cost": cost(make(), batch, rounds),
            "memory over a plain step": memory(make(), batch),
            "with double backward in float64": exactness(make(), batch[slice(0, 8)]),
        }
    gradients = {f"{name}, batch {images}": compare(name, images, rounds, "cuda") for name, images in MEASURED}
    write("on_gpu", {"penalised step": steps, "loss gradient": gradients})
