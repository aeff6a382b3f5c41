"""Looks at models whose input gradient is exactly a planted one."""

import pandas as pd
from torch import nn

from gradlens.probes.probe import Probe


def planted(batch, gradient, offset=0.0, classes=32):
    """A look at a model whose label's logit has this gradient."""

    class Planted(nn.Module):
        def forward(self, image):
            value = (gradient * image).flatten(1).sum(1) + offset
            return nn.functional.one_hot(batch.target, classes) * value[:, None]

    return Probe(Planted(), batch)


def frame(probe, columns):
    core = {"correct": probe.correct, "loss": probe.loss}
    return pd.DataFrame({k: v.detach().numpy() for k, v in {**core, **columns}.items()})
