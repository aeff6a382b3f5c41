"""What the analyses found: the numbers that README and docs/claims.md quote, and the claims that have to follow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from _quotes import CLAIMS, EPS, README, Claim, Quote, Rows, follows, gap, over, result, times

PARTIAL = "edge_partial_contour"
OVER, PAIRED = "over seeds, 95 % t-intervals", "both minus the others, paired by seed"


def digits() -> Iterator[Quote | Claim]:
    found = result("analyses", "digits_robustness")
    seeds = found["seeds"]
    natural = seeds["natural"]
    eps, clean = ({name: over(rows, key) for name, rows in seeds.items()} for key in (EPS, "clean"))
    ratio = {name: times(rows, natural) for name, rows in seeds.items()}
    shown = {
        "natural": "natural",
        "natural, hard labels": "natural, hard labels",
        "edge": "EdgeReg",
        "gradnorm": "GradNorm",
    }
    for name, title in shown.items():
        of_natural = "1" if name == "natural" else ratio[name].around
        yield Quote(CLAIMS, f"| {title} | {eps[name].mean:.3f} | {of_natural} | {clean[name].mean:.1f} % |")
        yield follows(f"digits, {name}: the multiple of natural", ratio[name], found[OVER][name]["times natural"])
    said = f"{ratio['edge'].around} times the natural network's with EdgeReg and {ratio['gradnorm'].around} times with"
    yield Quote(README, said)
    hard = eps["natural, hard labels"].mean
    said = f"EdgeReg has {eps['edge'].mean / hard:.1f} times and GradNorm {eps['gradnorm'].mean / hard:.1f} times"
    yield Quote(CLAIMS, said)
    for name, least, accuracy in (("edge", 3, 92), ("gradnorm", 4, 97)):
        far = ratio[name].mean >= least and clean[name].mean >= accuracy
        yield Claim(f"digits: {name} carries {least} times as far at {accuracy} % or more", far)
        twice = all(own[EPS] > 2 * other[EPS] for own, other in zip(seeds[name], natural, strict=True))
        yield Claim(f"digits: {name} carries twice as far with every seed", twice)
    rows = list(itertools.chain(*seeds.values()))
    sound = _nothing_left(rows) and max(row["only Square breaks (%)"] for row in rows) <= 1
    yield Claim("digits: no sign of masking", sound)
    yield Quote(CLAIMS, "No network keeps any accuracy at ε = 0.5, and Square alone breaks at most 1 % of the images")


def activations() -> Iterator[Quote | Claim]:
    found = result("analyses", "gradnorm_activations")
    gelu, relu = (found[name]["seeds"] for name in ("gelu", "relu"))
    for title, rows in (("GELU", gelu), ("ReLU", relu)):
        yield Quote(CLAIMS, f"| {title} | {over(rows, EPS).mean:.3f} | {over(rows, 'clean').mean:.1f} % |")
    more, points = gap(gelu, relu, EPS), gap(gelu, relu, "clean")
    yield Quote(CLAIMS, f"GELU reaches {more.text(3)} more, and {points.text(1)} points of accuracy")
    yield follows("GELU - ReLU", more, found["GELU - ReLU " + OVER][EPS])
    yield Claim("GELU carries further than ReLU under GradNorm", more.low > 0)
    for name in ("gelu", "relu"):
        scores = found[name]["val accuracy under PGD-10"]
        best = max(scores, key=scores.get)
        chosen = {key: float(value) for key, value in (part.split("=") for part in best.split(", "))}
        yield Claim(f"{name} has the weight and learning rate that are best on val", chosen == found[name]["best"])


def edges() -> Iterator[Quote | Claim]:
    found = result("analyses", "edge_claim")
    seeds = {data: found[data]["seeds"] for data in ("shapes", "photos")}
    columns = ("natural", "gradnorm", "fgsm", "both")
    shapes, photos = seeds["shapes"], seeds["photos"]
    for title, rows in (("shapes, ResNet-20", shapes), ("photos, a small CNN", photos)):
        *others, both = (f"{over(rows[column], PARTIAL).mean:.2f}" for column in columns)
        yield Quote(CLAIMS, f"| {title} | partial correlation | {' | '.join(others)} | **{both}** |")
        lines = [("mean minimal ε", EPS, ".3f", ""), ("accuracy", "clean", ".0f", " %")]
        for line, key, form, unit in lines:
            values = " | ".join(f"{over(rows[column], key).mean:{form}}{unit}" for column in columns)
            yield Quote(CLAIMS, f"| | {line} | {values} |")
    published, natural = (over(photos[name], PARTIAL).mean for name in ("edge, as published", "natural"))
    yield Quote(CLAIMS, f"its partial correlation with contours on photos is {published:.2f}, natural {natural:.2f}")
    beyond = {(d, o): gap(seeds[d]["both"], seeds[d][o], PARTIAL) for d in seeds for o in columns[:-1]}
    a, b, c, d = (beyond[data, other].text() for other in ("gradnorm", "fgsm") for data in seeds)
    yield Quote(
        CLAIMS, f"it gains {a} on shapes and {b} on photos; beyond the FGSM that it is trained on, {c} and {d}."
    )
    for (data, other), more in beyond.items():
        yield follows(f"{data}: edges beyond {other}", more, found[data][PAIRED][other][PARTIAL])
        yield Claim(f"{data}: edges beyond {other}, by a tenth on average", more.mean > 0.1 and more.low > 0)
        robust, compared = over(seeds[data]["both"], EPS), over(seeds[data][other], EPS)
        yield Claim(f"{data}: as robust as {other}, within a tenth, or more", robust.mean > 0.9 * compared.mean)
        natural_high = over(seeds[data]["natural"], EPS).high
        yield Claim(f"{data}: surely more robust than natural training", robust.low > natural_high)
    short = {pair for pair, more in beyond.items() if more.low <= 0.1}
    yield Claim("the one lower limit short of a tenth is that to GradNorm on shapes", short == {("shapes", "gradnorm")})
    yield from _sound_edges(seeds)


def _sound_edges(seeds: Mapping[str, Mapping[str, Rows]]) -> Iterator[Claim]:
    clean = {name: over(rows, "clean").mean for name, rows in seeds["shapes"].items()}
    learnt = min(clean.values()) > 80 and clean["both"] > clean["gradnorm"] - 5
    yield Claim("shapes are learnt, and hardly less with both than with GradNorm", learnt)
    for data, recipes in seeds.items():
        yield Claim(f"{data}: no accuracy is left at ε = 0.5", _nothing_left(itertools.chain(*recipes.values())))
        # FGSM alone on photos has a sign of masking, weakly: in 1.1 % of the images Square is the only one to break it.
        for recipe in recipes.keys() - ({"fgsm"} if data == "photos" else set()):
            square = over(recipes[recipe], "only Square breaks (%)").mean
            yield Claim(f"{data}, {recipe}: Square alone breaks at most 1 % of the images", square <= 1)


def controls() -> Iterator[Quote | Claim]:
    found = result("analyses", "edge_controls")
    seeds = {data: found[data]["seeds"] for data in ("shapes", "photos")}
    told = {(d, c): gap(seeds[d]["trained"], seeds[d][c], PARTIAL) for d in seeds for c in ("random", "shuffled")}
    started = [told[data, "random"] for data in seeds]
    yield Quote(CLAIMS, f"it started from: {started[0].text()} on shapes and {started[1].text()} on photos.")
    twins = [told[data, "shuffled"] for data in seeds]
    yield Quote(CLAIMS, f"shuffled labels: {twins[0].text()} on shapes, and {twins[1].text()} on photos.")
    for (data, control), more in told.items():
        stored = found[data]["differences " + OVER][f"trained - {control}, {PARTIAL}"]
        yield follows(f"{data}: trained - {control}", more, stored)
        # On photos the network of shuffled labels is the one on edges.
        sure = more.high < 0 if (data, control) == ("photos", "shuffled") else more.low > 0
        yield Claim(f"{data}: a trained network is told from its {control} twin", sure)


def selectivity() -> Iterator[Quote]:
    rows = [row for row in result("analyses", "selectivity_bias")["rows"] if row["signal"] == "no class signal"]
    many, few = ([f"{row['raw'][0]:.2f}" for row in rows if row["images a class"] == count] for count in (50, 10))
    said = "{}, {} and {} at 50 images a class for the three kinds of units, {}, {} and {} at 10."
    yield Quote(CLAIMS, said.format(*many, *few))


def _nothing_left(rows: Any) -> bool:
    return max(row["accuracy at eps 0.5"] for row in rows) == 0
