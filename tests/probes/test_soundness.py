"""A network whose outputs are no logits of single images is named before a run; a sound one is let through."""

import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.core.types import Batch
from gradlens.probes.soundness import check_outputs


class Net(nn.Module):
    """A small network whose last step, or whose inside, is what is asked about."""

    def __init__(self, kind="sound", classes=5, scale=8.0):
        super().__init__()
        self.kind, self.conv, self.head = kind, nn.Conv2d(3, 8, 3), nn.Linear(8, classes)
        self.norm = nn.BatchNorm2d(8, track_running_stats=kind != "no running stats")
        with torch.no_grad():
            self.head.weight.mul_(scale)

    def forward(self, x):
        h = F.gelu(self.norm(self.conv(x))).mean((2, 3))
        h = F.dropout(h) if self.kind == "dropout" else h
        h = h + 0.1 * torch.randn_like(h) if self.kind == "noise" else h
        h = h - h.mean(0) if self.kind == "batch mean" else h
        z = self.head(h)
        ends = {
            "softmax": lambda: z.softmax(1),
            "sigmoid": lambda: z.sigmoid(),
            "log-softmax": lambda: z.log_softmax(1),
        }
        ends |= {"viewed sigmoid": lambda: z.sigmoid()[:, :, None].squeeze(2), "nan": lambda: z * torch.nan}
        ends |= {"relu": lambda: z.relu()}
        return ends.get(self.kind, lambda: z)()


def checked(kind, images=16, batch_size=64, **options):
    torch.manual_seed(0)
    model = gl.load_model(Net(kind, **options).eval(), normalized=True, device="cpu")
    image = torch.rand(images, 3, 12, 12)
    check_outputs(model, Batch(image, torch.zeros(images, dtype=torch.long), torch.arange(images)), batch_size)


@pytest.mark.parametrize("kind", ["sound", "log-softmax", "relu"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_logits_are_let_through(kind, scale):
    checked(kind, scale=scale)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dropout", ["each time", "random", "deterministic"]),
        ("noise", ["each time", "random", "deterministic"]),
        ("no running stats", ["depend on the other images", "running statistics", "--batch-size 1"]),
        ("batch mean", ["depend on the other images", "--batch-size 1"]),
        ("softmax", ["probabilities", "sum 1", "last softmax"]),
        ("sigmoid", ["probabilities", "last sigmoid"]),
        ("viewed sigmoid", ["probabilities", "last sigmoid"]),
        ("nan", ["NaN or infinite for each of the 16 images"]),
    ],
)
def test_what_is_no_logit_of_one_image_is_refused_with_the_remedy(kind, said):
    with refused("Net", *said):
        checked(kind)


def test_one_output_is_no_classifier():
    with refused("one output", "zeros_like"):
        checked("sound", classes=1)


@pytest.mark.parametrize("kind", ["no running stats", "batch mean"])
def test_a_network_that_reads_its_batch_may_be_measured_image_by_image(kind):
    checked(kind, batch_size=1)


def test_a_single_image_is_enough_for_what_one_shows():
    checked("sound", images=1)
    with refused("each time"):
        checked("dropout", images=1)
