"""Counterfactual teachers of EdgeReg, each worked out by hand, and the space that a penalty is of."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from penalty_cases import EPS, exact_gradients, rows, stub, value
from torch import nn

import gradlens as gl
from gradlens.core.registry import edge_map
from gradlens.core.types import Batch, UserError
from gradlens.probes.edges import edge_map_of
from gradlens.probes.probe import Probe
from gradlens.training.methods import Objective
from gradlens.training.penalties import choose_penalty

ALONE = "batchwise=false,objective=loss"


def taught(cnn, batch, spec, bank=None):
    penalty = choose_penalty(spec)
    if bank is not None:
        for part in (slice(0, 5), slice(5, None)):
            penalty.fit(Probe(cnn, bank[part]))
    return penalty(Probe(cnn, batch, "graph")).detach()


def distance(cnn, batch, maps):
    """``2 − 2 cos`` of each image's gradient and a map in each channel."""
    g = torch.from_numpy(exact_gradients(cnn, batch, "loss")).flatten(1)
    return 2 - 2 * F.cosine_similarity(g, maps.double().expand(len(batch), 3, -1, -1).flatten(1))


def assert_close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["contour_energy", "canny:sigma=2", "halved"])
def test_other_and_mean_take_any_map_of_training_images(cnn, digits, name, no_plugin_stays):
    @edge_map
    def halved(images):
        return images.mean(1, keepdim=True) / 2

    batch, bank = digits[slice(0, 8)], digits[slice(4, 40)]
    maps = edge_map_of(bank.image, name)
    mean = taught(cnn, batch, f"edge:target=mean,map={name},{ALONE}", bank)
    other = taught(cnn, batch, f"edge:target=other,map={name},{ALONE}", bank)
    assert_close(mean, distance(cnn, batch, maps.mean(0, keepdim=True)))
    each = torch.stack([distance(cnn, batch, maps[k : k + 1]) for k in range(len(maps))])
    hits = (each - other).abs() < 1e-4
    assert hits.any(0).all()
    # The images 4 … 7 are in the bank, as its first four: none is its own teacher.
    assert not hits[torch.arange(4), torch.arange(4, 8)].any()


@pytest.mark.parametrize("target", ["other", "mean", "noise", "flat"])
def test_teacher_of_an_image_does_not_depend_on_the_others(cnn, digits, target):
    batch, bank = digits[slice(0, 16)], digits[slice(16, 64)]
    spec, bank = f"edge:target={target},{ALONE}", bank if target in ("other", "mean") else None
    together, order = taught(cnn, batch, spec, bank), torch.randperm(16)
    torch.testing.assert_close(taught(cnn, rows(batch, order), spec, bank), together[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(taught(cnn, batch[slice(3, 7)], spec, bank), together[3:7], rtol=1e-5, atol=1e-6)
    assert (together - value(cnn, batch, f"edge:{ALONE}")).abs().max() > 1e-3


def test_flat_is_a_constant(cnn, batch):
    assert_close(value(cnn, batch, f"edge:target=flat,{ALONE}"), distance(cnn, batch, torch.ones(1, 1, 32, 32)))


def test_noise_is_each_images_own_and_smooth(cnn, batch):
    found = []
    for image in batch.image:
        # A gradient of one pixel reads the map there, up to the norms.
        ones = torch.eye(1024).view(1024, 1, 32, 32)
        probe = stub(ones)
        probe.batch = Batch(image.expand(1024, -1, -1, -1), None, batch.index[:1].expand(1024) + len(found))
        found.append(1 - choose_penalty("edge:target=noise,batchwise=false")(probe) / 2)
        if len(found) == 2:
            break
    a, b = (f.view(32, 32) for f in found)
    assert (a - b).abs().max() > 0.1 * a.max()
    assert float((a[:, 1:] - a[:, :-1]).std() / a.std()) < 0.5
    assert float(a.min()) >= 0


def test_name_of_a_map_is_the_images_own(cnn, batch):
    short, long = (value(cnn, batch, f"edge:{spec}") for spec in ("target=sobel", "target=own,map=sobel"))
    assert torch.equal(short, long)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("edge:target=othr", "unknown edge map or target of edge 'othr'; did you mean other"),
        ("edge:target=mean", "edge:target=mean takes its maps from training images; train with it, or call its fit"),
        ("edge:space=pixels", "unknown space of a penalty 'pixels'; did you mean pixel"),
        ("gradnorm:space=normalised", "unknown space of a penalty 'normalised'; did you mean normalized"),
    ],
)
def test_wrong_teacher_is_refused(cnn, batch, spec, message):
    with pytest.raises(UserError, match=message):
        value(cnn, batch, spec)


@pytest.mark.parametrize("target", ["other", "mean"])
def test_trainer_shows_its_images(cnn, tmp_path, target):
    penalty = f"edge:target={target}"
    config = gl.TrainConfig(
        data="digits", arch="digits_cnn:width=4", out=tmp_path, limit=32, epochs=1, batch_size=8, penalty=penalty
    )
    assert np.isfinite(gl.train(config, progress=False).history[0]["penalty"])
    objectives = [Objective(config) for _ in range(2)]
    data = gl.load_data("digits", "train", limit=32)
    found = []
    for objective in objectives:
        objective.fit(cnn, data)
        batch, _ = data.read(data.indices[:8].tolist())
        found.append(float(objective.penalty(Probe(cnn, batch, "graph")).detach()))
    assert found[0] == found[1]


def test_space_of_the_network_is_the_papers_to_the_letter(cnn, batch):
    """Both of the normalised input: ``ε / .225`` times the gradient's norm, and contours of the normalised image."""
    normalised = ((batch.image - cnn.mean) / cnn.std).requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(cnn.net(normalised), batch.target, reduction="sum"), normalised)
    expected = EPS / 0.225 * g.abs().sum((1, 2, 3))
    torch.testing.assert_close(value(cnn, batch, "gradnorm:space=normalized"), expected, rtol=1e-4, atol=0)
    e = edge_map_of(normalised.detach(), "contour_energy").expand(-1, 3, -1, -1)
    expected = 2 - 2 * F.cosine_similarity(g.flatten(1), e.flatten(1))
    found = value(cnn, batch, f"edge:space=normalized,{ALONE}")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - value(cnn, batch, f"edge:{ALONE}")).abs().max() > 1e-4


def test_space_of_a_network_that_holds_no_normalisation_is_refused(batch):
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(UserError, match="needs a model that holds its mean and std"):
        value(bare, batch, "gradnorm:space=normalized")
