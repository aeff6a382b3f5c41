"""What the benchmarks found: the numbers that docs/costs.md quotes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from _quotes import COSTS, Claim, Quote, result


def costs() -> Iterator[Quote]:
    captum = result("benchmarks", "probe_against_captum")["models"]
    titles = {"resnet50": "ResNet-50", "vit_small_patch16_224": "ViT-S", "swin_tiny_patch4_window7_224": "Swin-T"}
    for name, found in captum.items():
        model, batch = name.split(", batch ")
        yield Quote(COSTS, f"| {titles[model]} | {batch} | {found['throughput over captum']['median']:.2f} |")
    analyzers = result("benchmarks", "analyzer_cost")
    bare, folded = (analyzers[f"standard over the bare loop{end}"] for end in ("", " on the folded model"))
    said = f"{bare['median']:.2f}× its time on the model as it was loaded, {folded['median']:.2f}× (least times "
    yield Quote(COSTS, said + f"{folded['of least times']:.2f}×)")
    loop = analyzers["ms an image and core of the bare loop"]
    own = analyzers["ms an image and core of each analyzer"]["edge_concentration"]
    null = analyzers["ms an image and core of the null bank and partials"]["together"]
    said = f"takes {loop:.0f} ms an image and core, `edge_concentration` {own:.0f}, of which the null bank and partial"
    yield Quote(COSTS, f"{said} correlations are {null:.1f}.")
    memory = result("benchmarks", "peak_memory")
    slope, error = (
        f"{memory[key]:.0f}".replace("-", "−") for key in ("slope, KB an image", "standard error, KB an image")
    )
    counts = [f"{int(count):,}" for count in memory["peak MB by images"]]
    said = f"{slope} ± {error} KB an image over {counts[0]}, {counts[1]} and {counts[2]} images, one of which is "
    yield Quote(COSTS, f"{said}{memory['one image as float32, KB']:.0f} KB as float32.")
    report = result("benchmarks", "report")
    one = report["one run"]
    said = f"{report['images']:,} images with {report['columns']} columns is {one['MB']:.0f} MB, made in "
    seconds = one["ms until interactive"]["median"] / 1000
    yield Quote(COSTS, f"{said}{one['seconds to make']:.0f} s, and answers in the browser after {seconds:.1f} s.")


def steps() -> Iterator[Quote | Claim]:
    found = result("benchmarks", "penalised_step")
    for model, title in (("CNN", "a CNN"), ("ViT-tiny", "ViT-tiny")):
        for penalty, name in (("gradnorm", "GradNorm"), ("edge", "EdgeReg")):
            plain, attacked, double = _step(found["cost"][model], penalty)
            yield Quote(COSTS, f"| {name}, {title} | {plain:.1f} | {attacked:.2f} | {double:.1f} |")
    cosines = list(_numbers(found["with double backward in float64"], "cosine"))
    yield Quote(
        COSTS, f"Its cosine with double backward in float64 is at least {math.floor(1e4 * min(cosines)) / 1e4}."
    )
    memory = [item for of in found["memory over a plain step"].values() for item in of.items()]
    own, doubles = ([v for name, v in memory if kind in name] for kind in ("finite difference", "double backward"))
    yield Quote(COSTS, f"double backward's {min(doubles):.1f} to {max(doubles):.1f} times that")
    yield Claim("finite differences take the memory of a plain step, within a hundredth", max(own) < 1.01)


def on_gpu() -> Iterator[Quote]:
    found = result("benchmarks", "on_gpu")
    for model, parts in found["penalised step"].items():
        plain, attacked, double = _step(parts["cost"], "gradnorm")
        yield Quote(COSTS, f"| {model} | {parts['cost']['batch size']} | {plain:.2f} | {attacked:.2f} | {double:.2f} |")
    gradient = found["loss gradient"]
    ratios = [of["throughput over captum"]["median"] for of in gradient.values()]
    rates = [round(of["images a second"], -1) for of in gradient.values()]
    said = (
        f"runs at {min(ratios):.2f}–{max(ratios):.2f}× captum's throughput, {min(rates):,.0f}–{max(rates):,.0f} images"
    )
    yield Quote(COSTS, said)
    (resnet,) = (of for name, of in gradient.items() if name.startswith("resnet50"))
    folded, loaded = (resnet[f"throughput over captum{end}"]["median"] for end in ("", ", not folded"))
    yield Quote(COSTS, f"slower there than ResNet-50 as loaded: {folded:.2f} against {loaded:.2f}.")


def _step(cost: Any, penalty: str) -> tuple[float, float, float]:
    """With its checks, of a plain and of a PGD-3 step, and double backward's of a plain one."""
    plain, attacked = cost["over a plain step"], cost["over a PGD-3 step"]
    own, double = f"{penalty}, checks included", f"{penalty}, double backward"
    return plain[own]["median"], attacked[own]["median"], plain[double]["median"]


def _numbers(tree: Any, key: str) -> Iterator[float]:
    """All numbers of that key in a tree of mappings."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, key)
        elif name == key:
            yield value
