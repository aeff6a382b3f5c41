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

from gradlens import Batch, Preprocess, Probe, load_data, load_model
from gradlens._loop import measurement
from gradlens.analyzers import STANDARD, choose_analyzers
from gradlens.analyzers._confounders import Confounders
from gradlens.analyzers._edge_scores import edge_maps, gradient_forms, scores
from gradlens.data import Data
from gradlens.edges import canny, contour_energy
from gradlens.models import Classifier

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
    confounders = Confounders(image)
    forms = gradient_forms(torch.randn_like(image), confounders)
    # A partial correlation: the confounders of an image, and the residuals of log |g| and of its ranks.
    ways = {"confounders": lambda: Confounders(image)}
    ways["residuals"] = lambda: (confounders.residual(forms.log), confounders.residual(forms.ranks))
    ways["null bank"] = lambda: scores(forms, bank, confounders)
    return ways


if __name__ == "__main__":
    torch.set_num_threads(2)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    model = load_model("timm:resnet50", weights="random", device="cpu").requires_grad_(False)
    folded = model.folded()
    data = load_data("photos").bind(Preprocess(224, 1.0))
    pilot, batch = data.batch(data.limit(64).indices), data.batch(range(100, 100 + BATCH))
    batch = replace(batch, target=batch.target * 100)
    ways = {"bare": lambda: bare(model, batch), "bare, folded": lambda: bare(folded, batch)}
    ways["gradient alone"] = lambda: Probe(folded, batch, needs=("gradient:loss",)).gradient()
    for name in STANDARD:
        # Units alone need no gradient: their cost is what they add to a measure that does.
        run = measuring(folded, data, pilot, [name] if name != "class_selectivity" else ["sample_asymmetry", name])
        ways[name] = lambda run=run: run(batch)
    whole = measuring(folded, data, pilot, list(STANDARD))
    ways["standard"] = lambda: whole(batch)
    extra = in_turns(controls(pilot), 4 * rounds)
    seconds = in_turns(ways, rounds)
    cores = torch.get_num_threads()
    # The least of several times is the one with the least of other programs in it.
    least = {name: min(times) * 1e3 * cores / BATCH for name, times in seconds.items()}
    base = {"class_selectivity": "sample_asymmetry"}
    cost = {name: least[name] - least[base.get(name, "gradient alone")] for name in (*STANDARD, "standard")}
    write(
        "analyzer_cost",
        {
            "rounds": rounds,
            "batch size": BATCH,
            "standard over the bare loop": ratio(seconds, "standard", "bare"),
            "standard over the bare loop on the folded model": ratio(seconds, "standard", "bare, folded"),
            "ms an image and core beyond the gradient": cost,
            "ms an image and core of the null bank and partials": {
                name: min(times) * 1e3 * cores / BANKED for name, times in extra.items()
            },
            "ms an image and core of the bare loop": least["bare"],
        },
    )
