"""A probe as a figure, and as a page of a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.notebook import displayable
from gradlens.core.numbers import amount, number
from gradlens.plotting import paper_style
from gradlens.plotting.panels import footnote
from gradlens.plotting.pictures import FOOT, HEADING, LETTERS, PAGE, PANEL, SCALE, in_gray, show
from gradlens.plotting.style import MUTED
from gradlens.session.page import TILES, thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from gradlens.probes.probe import Probe


def probe_page(probe: Probe) -> str:
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
    held = ", ".join(f"{html.escape(what)} {amount(size)}" for what, size in probe.held.items())
    more = f"<br><small>{count - TILES:,} more images</small>" if count > TILES else ""
    hint = "" if len(gradients) else "; <code>.show()</code> computes and draws the gradient"
    return "".join(
        [
            f"<b>{html.escape(repr(probe).partition(';')[0].lstrip('<'))}</b>",
            thumbnails(images, gradients, "the probe's images" + (" above their gradients" if len(gradients) else "")),
            table.T.to_html(header=False, border=0) if len(table.columns) else "",
            f"{more}<br><small>keeps {held}{hint}</small>",
        ]
    )


def look_at(probe: Probe, of: str = "loss", edges: str = "canny", images: int = PAGE) -> Figure:
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
    return displayable(drawn)


def _said(probe: Probe, k: int) -> str:
    """An image's label, prediction and loss."""
    names = getattr(getattr(probe.model, "card", None), "class_names", ())
    label, taken = (int(v[k]) for v in (probe.target, probe.prediction))
    label_name, taken_name = ((str(names[c]) if c < len(names) else str(c))[:LETTERS] for c in (label, taken))
    about = label_name if label == taken else f"{label_name} → {taken_name}"
    # Without a label, the target is the prediction.
    about = f"predicted {taken_name}" if probe.batch.target is None else about
    return f"{about}, loss {number(float(probe.loss[k].detach()))}"


def _size(probe: Probe, of: str, k: int) -> str:
    direction, scale = _scaled(probe, of)
    return number(float(direction[k].double().abs().sum()) * float(scale[k]))


def _scaled(probe: Probe, of: str) -> tuple[Tensor, Tensor]:
    """Direction and scale, of which the modes that train have the product only."""
    if probe.mode == "value":
        return probe.scaled_gradient(of)
    gradient = probe.gradient(of).detach()
    return gradient, gradient.new_ones(len(gradient))


def _channels_last(images: Tensor) -> NDArray:
    return images.detach().cpu().float().numpy().transpose(0, 2, 3, 1)
