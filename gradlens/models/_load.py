"""The public ``load_model``, above the opening of one model and the controls that are made of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from gradlens.models._assembly import Options, open_model
from gradlens.models._classifier import Classifier
from gradlens.models._controls import cascade_until
from gradlens.models.fresh import Cascade, read_control


def load_model(
    spec: str | Path | nn.Module,
    arch: str | None = None,
    weights: str = "auto",
    activation: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    normalized: bool | None = None,
    num_classes: int | None = None,
    device: str = "auto",
    trust_pickle: bool = False,
) -> Classifier:
    """A classifier of images in [0, 1], in evaluation mode.

    spec: a checkpoint's path or a Hugging Face folder's, ``timm:NAME``, ``hf-hub:ORG/NAME``,
    ``torchvision:NAME``, ``module:callable`` (or ``file.py:callable``), or an ``nn.Module``. arch: for
    a checkpoint that does not name its own: a timm name, one of our zoo (``wrn_28_10:widen=2``), or
    any name as above. weights: ``auto`` prefers EMA, ``raw``, ``ema``, or a control: ``random:seed=3``
    for a freshly initialised twin, ``cascade:until=layer4`` for one that is so from the output down to a
    stage. activation: swapped in before the weights are loaded. mean, std: per channel in [0, 1];
    ``normalized=True`` says the network normalises inside. trust_pickle: let the file run code when
    it is opened. Nothing is guessed: what is missing raises UserError and names the flag.
    """
    asked = Options(spec, arch, weights, activation, mean, std, normalized, num_classes, trust_pickle)
    control = read_control(weights)
    if isinstance(control, Cascade):
        return cascade_until(open_model(replace(asked, weights=control.of), device), control)
    return open_model(asked, device)
