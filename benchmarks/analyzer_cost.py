"""What measuring costs beside the bare gradient loop: ResNet-50 at 224², photographs, float32, two cores.

    python benchmarks/analyzer_cost.py [ROUNDS]

The bare loop is a forward pass, the cross-entropy and its input gradient, with frozen parameters, on
the same tensors; once on the model as it was loaded, and once on our folded copy of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from side_by_side import in_turns, ratio, write
from torch import nn

from gradlens import Batch, Preprocess, Probe, load_data, load_model
from gradlens.analysis.rows import measurement
from gradlens.analyzers import STANDARD, choose_analyzers
from gradlens.analyzers._edge_confounders import Confounders, confounder_maps, log_brightness, log_contrast
from gradlens.analyzers._edge_local import interior, located_partial, shift_of
from gradlens.analyzers._edge_scores import edge_maps, gradient_forms, scores, standardize
from gradlens.data import Data
from gradlens.models import Classifier
from gradlens.probes.edges import canny, contour_energy
from gradlens.probes.edges.filters import luminance

BATCH = 16
# The bank is one matrix product, which small batches do not fill.
BANKED = 32


def bare(model: Classifier, batch: Batch) -> torch.Tensor:
    image = batch.image.clone().requires_grad_()
    loss = F.cross_entropy(model(image), batch.target, reduction="sum")
    return torch.autograd.grad(loss, image)[0]


def measuring(model: Classifier, data: Data, pilot: Batch, chosen: list[str]):
    analyzers = choose_analyzers(chosen)
    needs = frozenset(need for a in analyzers for need in a.needs)
    for analyzer in analyzers:
        analyzer.expect(data.indices, data.labels)
        analyzer.fit(Probe(model, pilot, needs=needs))
    tallies = {n: t for a in analyzers for n, t in a.tallies().items()}
    measure = measurement(lambda batch: Probe(model, batch, needs=needs), analyzers)

    def run(batch: Batch) -> None:
        _, observations = measure(batch)
        for name, values in observations:
            tallies[name.partition("/")[2]].update(*values)

    return run


def controls(pilot: Batch) -> dict[str, Callable[[], object]]:
    """What the confounders' partial correlations and the null bank take, apart from all else."""
    bank = edge_maps(contour_energy(pilot.image), canny(pilot.image))
    image = pilot.image[:BANKED]
    confounders = Confounders.of(image)
    forms = gradient_forms(torch.randn_like(image), confounders)
    # A partial correlation: the confounders of an image, and the residuals of log |g| and of its ranks.
    ways = {"confounders": lambda: Confounders.of(image)}
    ways["residuals"] = lambda: (confounders.residual(forms.log), confounders.residual(forms.ranks))
    ways["null bank"] = lambda: scores(forms, bank, confounders)
    return ways


def located(pilot: Batch) -> dict[str, Callable[[], object]]:
    """What the primary measure takes beyond the others: contrast under two more windows, and nine partials."""
    image = pilot.image[:BANKED]
    maps, shift = confounder_maps(image), shift_of(1)
    confounders = Confounders(interior(maps, shift))
    edges, gradient = (standardize(values.flatten(1)).view_as(values) for values in (maps[:, :1], maps[:, 1:2]))
    return {
        "confounder maps": lambda: confounder_maps(image),
        "those of the other measures": lambda: (log_brightness(luminance(image)), log_contrast(luminance(image))),
        "confounders": lambda: Confounders(interior(maps, shift)),
        "partial": lambda: located_partial(gradient, edges, confounders, shift),
    }


def cheap() -> Classifier:
    """A linear network of block means, whose gradient costs next to nothing: what is left is the analyzer."""
    net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 14 * 14, 1000))
    return load_model(net, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu").requires_grad_(False)


def against_the_loop(data: Data, pilot: Batch, batch: Batch) -> dict[str, Callable[[], object]]:
    """The standard set on ResNet-50, and with its units alone, beside the loops that it is compared with."""
    model = load_model("timm:resnet50", weights="random", device="cpu").requires_grad_(False)
    folded = model.folded()
    ways: dict[str, Callable[[], object]] = {"bare": lambda: bare(model, batch)}
    ways["bare, folded"] = lambda: bare(folded, batch)
    for name, chosen in (("without units", STANDARD[:-1]), ("standard", STANDARD)):
        run = measuring(folded, data, pilot, list(chosen))
        ways[name] = lambda run=run: run(batch)
    return ways


def apart(data: Data, pilot: Batch, batch: Batch) -> dict[str, Callable[[], object]]:
    """Each analyzer of the gradient on a model that costs nothing."""
    model = cheap()
    ways: dict[str, Callable[[], object]] = {"nothing": measuring(model, data, pilot, [])}
    ways |= {name: measuring(model, data, pilot, [name]) for name in STANDARD[:-1]}
    return {name: lambda run=run: run(batch) for name, run in ways.items()}


def milliseconds(seconds: dict[str, list[float]], images: int) -> dict[str, float]:
    """Of the least time, the one with the least of other programs in it, an image and core."""
    return {name: min(times) * 1e3 * torch.get_num_threads() / images for name, times in seconds.items()}


if __name__ == "__main__":
    torch.set_num_threads(2)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    data = load_data("photos").bind(Preprocess(224, 1.0))
    pilot, batch = data.batch(data.limit(64).indices), data.batch(range(100, 100 + BATCH))
    batch = replace(batch, target=batch.target * 100)
    parts = milliseconds(in_turns(controls(pilot), 4 * rounds), BANKED)
    local = milliseconds(in_turns(located(pilot), 4 * rounds), BANKED)
    local["confounder maps"] -= local.pop("those of the other measures")
    alone = milliseconds(in_turns(apart(data, pilot, batch), 2 * rounds), BATCH)
    loops = in_turns(against_the_loop(data, pilot, batch), rounds)
    whole = milliseconds(loops, BATCH)
    write(
        "analyzer_cost",
        {
            "rounds": rounds,
            "batch size": BATCH,
            "standard over the bare loop": ratio(loops, "standard", "bare"),
            "standard over the bare loop on the folded model": ratio(loops, "standard", "bare, folded"),
            "ms an image and core of each analyzer": {n: alone[n] - alone["nothing"] for n in STANDARD[:-1]}
            | {"class_selectivity, in ResNet-50": whole["standard"] - whole["without units"]},
            "ms an image and core of the null bank and partials": {**parts, "together": sum(parts.values())},
            "ms an image and core of the located partial": {**local, "together": sum(local.values())},
            "ms an image and core of the bare loop": whole["bare"],
        },
    )
