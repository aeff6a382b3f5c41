"""A probe in a Python session: opened from any images, drawn, and shown in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlens.core.notebook import displayable
from gradlens.core.numbers import amount, number
from gradlens.core.text import page
from gradlens.core.types import Batch
from gradlens.models import Classifier
from gradlens.plotting import paper_style
from gradlens.plotting.panels import footnote
from gradlens.plotting.pictures import FOOT, HEADING, LETTERS, PAGE, PANEL, SCALE, in_gray, show
from gradlens.plotting.style import MUTED, as_written
from gradlens.probes import opening
from gradlens.probes import probe as plain
from gradlens.probes.soundness import quickest
from gradlens.session.page import TILES, thumbnails


class Probe(plain.Probe):
    __doc__ = plain.Probe.__doc__

    @classmethod
    def of(cls, probe: plain.Probe) -> Probe:
        """The same look with what a session adds; what was computed already is computed again when asked for."""
        return cls(probe.model, probe.batch, probe.mode, probe.seed, probe.needs)

    @property
    def network(self) -> nn.Module:
        """The copy that a run would measure, of the model as it is when the forward pass runs."""
        classifier = self.mode == "value" and isinstance(self.model, Classifier)
        return quickest(self.model, self.batch) if classifier else self.model  # type: ignore[arg-type]

    def show(self, of: str = "loss", edges: str = "canny", images: int = 8) -> Figure:
        """Image, gradient and edges side by side, a row an image, at most so many; gray is a gradient of zero."""
        return look_at(self, of, edges, images)

    def _look_at(self, batch: Batch) -> Probe:
        return Probe(self.model, batch, self.mode, self.seed, self.needs)

    def _repr_html_(self) -> str:
        return probe_page(self)


def probe(
    model: Classifier | str | Path,
    images: Any,
    labels: int | Sequence[int] | Tensor | None = None,
    *,
    seed: int = 0,
    needs: Sequence[str] = ("units",),
) -> Probe:
    """Look at images: tensors or arrays ``(B, 3, H, W)`` in [0, 1], PIL images, paths, a list of them, or a ``Batch``.

    labels: ``(B,)``; None takes the prediction. Pictures are preprocessed as the model wants them. A
    probe keeps its graph and what was asked of it until it goes, or until the end of a ``with`` block;
    more images than the memory holds are refused with an estimate from two of them.
    """
    return opening.look_at(model, images, labels, seed, needs, Probe)


def probe_page(probe: plain.Probe) -> str:
    """The images, and what is known of them: nothing is computed for being shown."""
    known = {n: getattr(probe, n) for n in ("prediction", "loss", "confidence")} if "logits" in vars(probe) else {}
    count = len(probe.batch)
    images = probe.batch.image[:TILES].detach().cpu().double().numpy()
    found = probe._gradients.get("loss")
    direction = getattr(found, "direction", found)
    gradients = images[:0] if direction is None else direction[:TILES].detach().cpu().double().numpy()
    rows = {"label": probe.batch.target, **known}
    table = pd.DataFrame(
        {
            name: [number(float(v)) if v.is_floating_point() else str(int(v)) for v in values[:TILES].detach().cpu()]
            for name, values in rows.items()
            if values is not None
        }
    )
    held = ", ".join(f"{page(what)} {amount(size)}" for what, size in probe.held.items())
    more = f"<br><small>{count - TILES:,} more images</small>" if count > TILES else ""
    hint = "" if len(gradients) else "; <code>.show()</code> computes and draws the gradient"
    return "".join(
        [
            f"<b>{page(repr(probe).partition(';')[0].lstrip('<'))}</b>",
            thumbnails(images, gradients, "the probe's images" + (" above their gradients" if len(gradients) else "")),
            table.T.to_html(header=False, border=0) if len(table.columns) else "",
            f"{more}<br><small>keeps {held}{hint}</small>",
        ]
    )


def look_at(probe: plain.Probe, of: str = "loss", edges: str = "canny", images: int = PAGE) -> Figure:
    """A row an image of a probe: the image, its gradient, its edges."""
    pixels = _channels_last(probe.batch.image[:images])
    gradients = _channels_last(_scaled(probe, of)[0][:images])
    maps = _channels_last(probe.edges(edges)[:images])
    with paper_style():
        drawn = Figure(figsize=(3 * PANEL, len(pixels) * (PANEL + HEADING) + FOOT), layout="compressed")
        axes = drawn.subplots(len(pixels), 3, squeeze=False)
        for k, row in enumerate(axes):
            show(row[0], pixels[k], _said(probe, k))
            show(row[1], in_gray(gradients[k]), f"gradient of {of}, L1 {_size(probe, of, k)}")
            # Dark on light, as edges are drawn.
            show(row[2], 1 - maps[k] / (maps[k].max() or 1.0), edges)
            row[2].spines[:].set(visible=True, color=MUTED)
        left = len(probe.batch) - len(pixels)
        footnote(drawn, SCALE + (f"; {left:,} more images" if left > 0 else ""))
        as_written(drawn)
    return displayable(drawn)


def _said(probe: plain.Probe, k: int) -> str:
    """An image's label, prediction and loss."""
    names = getattr(getattr(probe.model, "card", None), "class_names", ())
    label, taken = (int(v[k]) for v in (probe.target, probe.prediction))
    label_name, taken_name = ((str(names[c]) if c < len(names) else str(c))[:LETTERS] for c in (label, taken))
    about = label_name if label == taken else f"{label_name} → {taken_name}"
    # Without a label, the target is the prediction.
    about = f"predicted {taken_name}" if probe.batch.target is None else about
    return f"{about}, loss {number(float(probe.loss[k].detach()))}"


def _size(probe: plain.Probe, of: str, k: int) -> str:
    direction, scale = _scaled(probe, of)
    return number(float(direction[k].double().abs().sum()) * float(scale[k]))


def _scaled(probe: plain.Probe, of: str) -> tuple[Tensor, Tensor]:
    """Direction and scale, of which the modes that train have the product only."""
    if probe.mode == "value":
        return probe.scaled_gradient(of)
    gradient = probe.gradient(of).detach()
    return gradient, gradient.new_ones(len(gradient))


def _channels_last(images: Tensor) -> NDArray:
    return images.detach().cpu().float().numpy().transpose(0, 2, 3, 1)
