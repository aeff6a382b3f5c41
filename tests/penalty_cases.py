"""What the tests of the penalties share: their values at a network, and gradients and edges worked out slowly."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F

from gradlens.core.registry import penalty
from gradlens.core.seeds import image_uniform
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.training.penalties import choose_penalty

EPS = 4 / 255
VARIANTS = (
    *("gradnorm:norm=l2", "gradnorm:norm=l1", "gradnorm_hinge:threshold=.2", "marginal_density:norm=l2"),
    *("edge:form=saliency", "edge:objective=loss", "edge:batchwise=false", "edge:target=sobel"),
    *("edge:form=saliency,batchwise=false,target=canny:sigma=1.5", "off_edge:target=contour_energy"),
)
SPECS = [*penalty, *VARIANTS]
each_penalty = pytest.mark.parametrize("spec", SPECS)


def value(model, batch, spec, mode="graph", seed=0):
    return choose_penalty(spec)(Probe(model, batch, mode, seed)).detach()


def rows(batch, index):
    return Batch(batch.image[index], batch.target[index], batch.index[index])


def exact_gradients(model, batch, objective):
    """``(B, C, H, W)`` in float64, image by image, from torch's own functions."""
    model, found = model.double(), []
    for image, label, index in zip(batch.image.double(), batch.target, batch.index, strict=True):
        image = image[None].requires_grad_()
        logits = model(image)
        if objective == "loss":
            of = F.cross_entropy(logits, label[None])
        elif objective == "logsumexp":
            of = logits.exp().sum().log()
        else:
            draw = image_uniform(0, index[None], "sampled_logit").item()
            cumulative = np.cumsum((logits[0] / 0.5).softmax(0).detach().numpy())
            of = logits[0, np.searchsorted(cumulative, draw, side="right")]
        found.append(torch.autograd.grad(of, image)[0][0].numpy())
    return np.stack(found)


def contours(batch, channels):
    energy = [reference.contour_energy(image)[None].repeat(channels, 0) for image in batch.image.double().numpy()]
    return np.stack(energy)


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def stub(gradient, edges=None):
    """A probe that answers with a given gradient and edge map."""
    batch = [None] * len(gradient)
    return SimpleNamespace(gradient=lambda of="loss": gradient, edges=lambda name: edges, batch=batch)
