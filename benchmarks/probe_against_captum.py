"""Throughput of the loss gradient: our probe against captum's Saliency on the same tensors, float32.

python benchmarks/probe_against_captum.py [ROUNDS [MODEL]]

With a model's name, only that one at batch 8, into session_against_captum.json.
"""

from __future__ import annotations

import copy
import sys

import torch
import torch.nn.functional as F
from captum.attr import Saliency
from side_by_side import in_turns, ratio, write

from gradlens import Batch, input_gradient, load_model
from gradlens.models import Classifier
from gradlens.probes.probe import Probe

MODELS = (
    ("resnet50", 8),
    ("resnet50", 16),
    ("resnet50", 32),
    ("vit_small_patch16_224", 8),
    ("swin_tiny_patch4_window7_224", 8),
)


def compare(name: str, batch_size: int, rounds: int, device: str = "cpu") -> dict:
    model = load_model(f"timm:{name}", weights="random", device=device)
    folded = model.folded()
    torch.manual_seed(0)
    batch = Batch(torch.rand(batch_size, 3, 224, 224), torch.arange(batch_size), torch.arange(batch_size)).to(device)
    saliency = Saliency(lambda x, y: F.cross_entropy(model(x), y, reduction="none"))

    def captum() -> torch.Tensor:
        image = batch.image.clone().requires_grad_()
        return saliency.attribute(image, abs=False, additional_forward_args=batch.target)

    def probe(of: Classifier) -> torch.Tensor:
        return Probe(of, batch, needs=("gradient:loss",)).gradient("loss")

    exact = _float64(model, batch)
    ways = {"captum": captum, "probe": lambda: probe(folded), "probe, not folded": lambda: probe(model)}
    # Its first call makes the copy and compares it, and is not timed.
    session = input_gradient(model, batch)
    ways["session"] = lambda: input_gradient(model, batch)
    seconds = in_turns(ways, rounds)
    return {
        "throughput over captum": ratio(seconds, "captum", "probe"),
        "throughput over captum of gl.input_gradient": ratio(seconds, "captum", "session"),
        "throughput over captum, not folded": ratio(seconds, "captum", "probe, not folded"),
        "images a second": batch_size / sorted(seconds["probe"])[rounds // 2],
        "folded sites": folded.card.folded,
        "rounds": rounds,
        "relative error of captum against float64": _errors(captum(), exact),
        "relative error of gl.input_gradient against float64": _errors(session, exact),
        "relative error of the probe against float64": _errors(probe(folded), exact),
    }


def _float64(model: Classifier, batch: Batch) -> torch.Tensor:
    image = batch.image.double().requires_grad_()
    loss = F.cross_entropy(copy.deepcopy(model).double()(image), batch.target, reduction="sum")
    return torch.autograd.grad(loss, image)[0]


def _errors(gradient: torch.Tensor, exact: torch.Tensor) -> dict[str, float]:
    """Over images; a ReLU whose input is within rounding of zero can flip in one of them."""
    error = (gradient - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    return {"median": float(error.median()), "worst": float(error.max())}


if __name__ == "__main__":
    torch.set_num_threads(2)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    models = [(name, 8) for name in sys.argv[2:]] or MODELS
    result = {f"{name}, batch {size}": compare(name, size, rounds) for name, size in models}
    write("session_against_captum" if sys.argv[2:] else "probe_against_captum", {"models": result})
