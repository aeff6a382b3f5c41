"""The input is normalised exactly once, by whoever has the say."""

from __future__ import annotations

import pytest
import torch
from layouts import ARCH, MEAN, STD, channels, network, under
from refusals import refused

from gradlens import load_model
from gradlens.models import save_checkpoint

RAW, AVERAGE = network(1), network(2)


def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def logits_of(net, mean=MEAN, std=STD):
    """What a network says of images that are normalised exactly once, without any code of ours."""
    with torch.no_grad():
        return net((images() - channels(mean)) / channels(std))


def logits(path, **options):
    with torch.no_grad():
        return load_model(path, device="cpu", **options)(images())


INSIDE = """
import torch
from gradlens.models._zoo import digits_cnn
from torch import nn

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = digits_cnn(3, width=1)
        self.register_buffer("mu", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sigma", torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return self.model((x - self.mu) / self.sigma)
"""


@pytest.fixture
def inside(tmp_path):
    """A network that normalises inside, and the file of one, wrapped by DistributedDataParallel."""
    (tmp_path / "inside.py").write_text(INSIDE)
    state = {"mu": channels(MEAN), "sigma": channels(STD), **under("model.", RAW.state_dict())}
    torch.save(under("module.", state), tmp_path / "w")
    return tmp_path / "w", f"{tmp_path / 'inside.py'}:Inside"


def test_a_network_that_normalises_inside_keeps_its_buffers_and_is_not_normalised_twice(inside):
    path, arch = inside
    model = load_model(path, arch=arch)
    assert torch.equal(model(images()), logits_of(RAW))
    assert (model.card.mean, model.card.std) == ((0, 0, 0), (1, 1, 1))
    assert any("normalises inside (mu and sigma)" in note for note in model.card.notes)
    assert torch.equal(logits(path, arch=arch, normalized=True), logits_of(RAW))
    with refused("normalises inside", "drop mean and std"):
        load_model(path, arch=arch, mean=MEAN, std=STD)


def test_the_same_file_in_a_bare_network_is_normalised_outside(inside):
    model = load_model(inside[0], arch=ARCH)
    assert torch.equal(model(images()), logits_of(RAW))
    assert model.card.mean == MEAN
    assert any("taken out of the weights" in note for note in model.card.notes)
    with refused("no place inside", "--normalized"):
        load_model(inside[0], arch=ARCH, normalized=True)
    assert not torch.allclose(logits_of(RAW), logits_of(RAW, (0.0,) * 3, (1.0,) * 3), atol=1e-2)


def test_a_normalisation_asked_for_wins_over_the_one_in_the_weights(inside):
    own = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5)}
    assert torch.equal(logits(inside[0], arch=ARCH, **own), logits_of(RAW, **own))


def test_an_untrained_twin_is_normalised_as_its_model(inside):
    twin = load_model(inside[0], arch=ARCH, weights="random")
    assert twin.card.mean == MEAN
    assert not torch.equal(twin.net[0].weight, RAW[0].weight)


def test_two_normalisations_are_refused(tmp_path):
    state = {"mu": channels(MEAN), "sigma": channels(STD), **RAW.state_dict()}
    described = {"arch_kwargs": {"width": 1}, "mean": (0.1,) * 3, "std": (0.5,) * 3}
    save_checkpoint(tmp_path / "w", state, arch="digits_cnn", **described)
    with refused("two normalisations", "--mean and --std"):
        load_model(tmp_path / "w")
    assert torch.equal(logits(tmp_path / "w", mean=MEAN, std=STD), logits_of(RAW))


def test_a_second_normaliser_is_taken_out_only_where_it_repeats_the_first(tmp_path):
    held = {"mu": channels(MEAN), "sigma": channels(STD), "normalizer.new_mean": channels(MEAN), **RAW.state_dict()}
    torch.save({**held, "normalizer.new_std": channels(STD)}, tmp_path / "w")
    assert torch.equal(logits(tmp_path / "w", arch=ARCH), logits_of(RAW))
    torch.save({**held, "normalizer.new_std": 2 * channels(STD)}, tmp_path / "w")
    with refused("2 unexpected (such as 'normalizer.new_mean')"):
        load_model(tmp_path / "w", arch=ARCH)


def test_a_normalisation_of_pixels_up_to_255_is_refused(tmp_path):
    torch.save({"mu": 255 * channels(MEAN), "sigma": 255 * channels(STD), **RAW.state_dict()}, tmp_path / "w")
    with refused("divide mean and std by 255"):
        load_model(tmp_path / "w", arch=ARCH)


def test_a_network_with_a_child_called_model_keeps_that_name(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\nfrom gradlens.models._zoo import digits_cnn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.model = digits_cnn(3, width=1)\n"
        "    def forward(self, x):\n        return self.model(x)\n"
    )
    torch.save({"state_dict": under("module.model.", RAW.state_dict())}, tmp_path / "w")
    options = {"arch": f"{tmp_path / 'net.py'}:Net", "mean": MEAN, "std": STD}
    assert torch.equal(logits(tmp_path / "w", **options), logits_of(RAW))


def test_what_a_network_lacks_is_counted_against_the_form_nearest_to_it(inside):
    path, arch = inside
    state = torch.load(path)
    del state["module.model.0.weight"]
    torch.save(state, path)
    with refused("1 keys missing (such as 'model.0.weight'), 0 unexpected"):
        load_model(path, arch=arch)
