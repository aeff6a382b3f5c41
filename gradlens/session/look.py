"""``gl.look``: single pictures by one or several models, as a table of numbers and as a figure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gradlens.analysis.analyze import as_classifier
from gradlens.analysis.preprocessing import bound
from gradlens.analysis.rows import measure
from gradlens.analyzers import choose_analyzers
from gradlens.core.names import split_specs, unknown
from gradlens.core.notebook import displayable
from gradlens.core.numbers import NOTHING, number
from gradlens.core.stated import inferred
from gradlens.core.surroundings import undisturbed
from gradlens.core.table import Table
from gradlens.core.types import Batch, UserError
from gradlens.data import Data, open_image, upright
from gradlens.models import Classifier
from gradlens.plotting.looks import Gradient, Row, draw_look
from gradlens.plotting.style import paper_style
from gradlens.session.probe import Probe, probe

ANALYZERS = ("sample_asymmetry", "channel_asymmetry", "edge_concentration")
SHARES = ("share_r", "share_g", "share_b")
LOCATED = "edge_partial_contour_local"
NOTES = (
    "L1: norm of the gradient, in nats (of logits' objectives, logits) per unit pixel; ε · L1 is an L∞ attack's gain "
    "to first order",
    "R, G, B: parts of the L1 norm, 1/3 each when even; on edges: its part on Canny's edge pixels, beside their area: "
    "as much as the area says nothing",
    "located: 0 no more than on the edges moved, 1 the edges themselves; one picture says nothing of a model",
)


class Look(NamedTuple):
    """What was seen of some pictures: the numbers, a row a picture, model and objective, and the figure of them."""

    table: Table
    figure: Figure


@undisturbed()
def look(
    models: str | Path | Classifier | nn.Module | Sequence[Any],
    pictures: str | Path | Image.Image | Sequence[Any],
    labels: int | str | Sequence[int | str] | None = None,
    *,
    objective: str | Sequence[str] = "loss",
    venue: str = "neurips",
    columns: int = 2,
) -> Look:
    """Look at single pictures: their gradients by each model, their edges, L1 norms and what these are made of.

    models: one or several of what ``analyze`` takes. pictures: paths or PIL images, one or several, each
    preprocessed as in a run of itself. labels: a class a picture, by number or as the model calls it; None takes
    each model's prediction. objective: ``loss``, or several. venue, columns: whose width the figure has.

    ``table.frame`` holds a row a picture, model and objective: ``picture pixels model objective label prediction
    confidence loss l1``; ``share_r share_g share_b``, parts of the L1 norm by channel, 1/3 each when even;
    ``share_on_edges``, its part on Canny's edge pixels, to be read beside ``edge_area``, their part of all pixels;
    ``edge_partial_contour_local``. Raises UserError for what is no picture.
    """
    asked = split_specs(objective) if isinstance(objective, str) else list(objective)
    classifiers = [as_classifier(model) for model in _listed(models)]
    sources = [_Picture(one, k) for k, one in enumerate(_listed(pictures), 1)]
    given = [None] * len(sources) if labels is None else _listed(labels)
    if len(given) != len(sources):
        raise UserError(f"{len(sources)} pictures came with {len(given)} labels; give one label a picture, or none")
    seen = [[_seen(m, one, label, asked) for m in classifiers] for one, label in zip(sources, given, strict=True)]
    with paper_style(venue, columns):
        figure = draw_look([_row(by_model, len(asked) > 1) for by_model in seen])
    numbers = [row for by_model in seen for one in by_model for row in one.numbers]
    return Look(_table(pd.DataFrame(numbers)), displayable(figure))


class _Picture:
    """A picture as data of one image, so that a model's preprocessing is bound to it as to any data."""

    varies_in_size = True
    class_names: tuple[str, ...] = ()

    def __init__(self, given: Any, place: int):
        self.given = Path(given) if isinstance(given, str) else given
        if not isinstance(self.given, Path | Image.Image):
            raise UserError(f"a {type(given).__name__} is no picture; give paths or PIL images, or gl.probe(…).show()")
        if isinstance(self.given, Path) and not self.given.is_file():
            raise UserError(f"no picture at {given}; give the path of an image file")
        self.name = self.given.name if isinstance(self.given, Path) else f"picture {place}"
        self.paths, self.labels = [self.name], np.array([-1])

    def open(self, index: int, channels: int = 3) -> Image.Image:
        if isinstance(self.given, Path):
            return open_image(self.given, channels=channels)
        return upright(self.given, channels)


class _Seen(NamedTuple):
    """A picture by one model: its pixels ``(H, W, C)`` and edges ``(H, W)``; a gradient and numbers an objective."""

    image: NDArray
    edges: NDArray
    gradients: list[NDArray]
    numbers: list[dict[str, Any]]


def _seen(model: Classifier, picture: _Picture, label: int | str | None, objectives: Sequence[str]) -> _Seen:
    data, stated = bound(Data(picture), model)
    if said := inferred({name: one for name, one in {**model.card.stated, **stated}.items() if one is not None}):
        logging.getLogger("gradlens").warning(f"{model.card.name} on {picture.name}: not stated, so taken: {said}")
    batch = data.batch([0])
    target = None if label is None else torch.tensor([_class(label, model)])
    found = probe(model, Batch(batch.image, target, batch.index), needs=[f"gradient:{of}" for of in objectives])
    about = {"picture": picture.name, "pixels": " × ".join(map(str, batch.image.shape[2:]))}
    numbers = [{**about, **_numbers(model, found, of)} for of in objectives]
    gradients = [_pixels(found.scaled_gradient(of).direction) for of in objectives]
    return _Seen(_pixels(batch.image), found.edges("canny")[0, 0].cpu().numpy(), gradients, numbers)


def _numbers(model: Classifier, found: Probe, of: str) -> dict[str, Any]:
    analyzers = choose_analyzers(ANALYZERS, [of])
    row = {name.removesuffix(analyzers[0].suffix): value for name, value in measure(found, analyzers).iloc[0].items()}
    size, edges = found.scaled_gradient(of).direction[0].double().abs().sum(0), found.edges("canny")[0, 0]
    return {
        **{"model": model.card.name, "objective": of},
        "label": None if found.batch.target is None else class_name(model, int(row["label"])),
        "prediction": class_name(model, row["prediction"]),
        **{name: row[name] for name in ("confidence", "loss", "l1")},
        # Of one channel there is nothing to share.
        **{name: row[name] if len(found.batch.image[0]) == 3 else np.nan for name in SHARES},
        "share_on_edges": float((size * edges).sum() / size.sum()),
        "edge_area": float(edges.double().mean()),
        LOCATED: row[LOCATED],
    }


def _pixels(images: Tensor) -> NDArray:
    return images[0].detach().cpu().float().numpy().transpose(1, 2, 0)


def class_name(model: Classifier, number: float) -> str:
    """What the model calls a class, else its number; a dash for logits that are not finite."""
    if np.isnan(number):
        return NOTHING
    names = model.card.class_names
    return str(names[int(number)]) if number < len(names) else str(int(number))


def _class(label: int | str, model: Classifier) -> int:
    """The number of a class that is given by number or by name."""
    if isinstance(label, int) or label.isdecimal():
        return int(label)
    if label not in model.card.class_names:
        raise UserError(unknown(f"class of {model.card.name}", label, model.card.class_names, "or give its number"))
    return model.card.class_names.index(label)


def _row(by_model: Sequence[_Seen], named: bool) -> Row:
    """What the figure shows of a picture; named: which objective each gradient is of."""
    first, gradients = by_model[0], []
    for seen in by_model:
        for pixels, said in zip(seen.gradients, seen.numbers, strict=True):
            title = f"{said['model']}, {said['objective']}" if named else said["model"]
            sizes = (said["l1"], [said[name] for name in SHARES], said["share_on_edges"], said["edge_area"])
            gradients.append(Gradient(title, _taken_for(said), pixels, *sizes))
    alike = all(seen.image.shape == first.image.shape and (seen.image == first.image).all() for seen in by_model)
    said = first.numbers[0]
    titles = [said["picture"], *([] if said["label"] is None else [f"label {said['label']}"])]
    return Row(titles, first.image, first.edges, gradients, alike)


def _table(frame: pd.DataFrame) -> Table:
    several = frame["objective"].nunique() > 1
    names = [f"{row.model}, {row.objective}" if several else row.model for row in frame.itertuples()]
    printed = pd.DataFrame(
        {
            "model": names,
            "prediction": [_taken_for(row) for row in frame.to_dict("records")],
            "L1": frame["l1"].map(number),
            **{name[-1].upper(): frame[name].map(_percent) for name in SHARES},
            "on edges": frame["share_on_edges"].map(_percent),
            "of area": frame["edge_area"].map(_percent),
            "located": [number(value, 2) for value in frame[LOCATED]],
        }
    )
    printed.index = pd.Index(frame["picture"] + " at " + frame["pixels"] + " pixels")
    return Table(frame, "Gradients with respect to single pictures", NOTES, printed=printed)


def _taken_for(said: Mapping[str, Any]) -> str:
    return f"{said['prediction']} ({_percent(said['confidence'])})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else NOTHING


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]
