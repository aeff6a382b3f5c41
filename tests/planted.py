"""Looks at models whose input gradient is exactly a planted one, and what analyzers make of a look."""

import pandas as pd
import torch
from torch import nn

from gradlens.analyzers._edge_concentration import EdgeConcentration
from gradlens.probes.probe import Probe


def planted(batch, gradient, offset=0.0, classes=32):
    """A look at a model whose label's logit has this gradient."""

    class Planted(nn.Module):
        def forward(self, image):
            value = (gradient * image).flatten(1).sum(1) + offset
            return nn.functional.one_hot(batch.target, classes) * value[:, None]

    return Probe(Planted(), batch)


def gray_like(image, noise=0.0):
    """The images' mean over channels in every channel, with some colour of noise."""
    return (image.mean(1, keepdim=True).expand(-1, 3, -1, -1) + noise * (torch.rand_like(image) - 0.5)).clamp(0, 1)


def frame(probe, columns):
    core = {"correct": probe.correct, "loss": probe.loss}
    return pd.DataFrame({k: v.detach().numpy() for k, v in {**core, **columns}.items()})


def tallied(chosen, *probes):
    """The analyzer's tallies of these looks."""
    tallies = chosen.tallies()
    for probe in probes:
        for name, values in chosen.observe(probe).items():
            tallies[name].update(*values)
    return tallies


def summarized(chosen, probe):
    """The analyzer's summary of one look."""
    return chosen.summarize(frame(probe, chosen.measure(probe)), tallied(chosen, probe))


def edge_columns(batch, gradient, pilot, **parameters):
    """Edge measures of the label's logit, whose gradient is the planted one itself."""
    chosen = EdgeConcentration("true_logit", **parameters)
    chosen.fit(planted(pilot, pilot.image))
    return chosen.measure(planted(batch, gradient))
