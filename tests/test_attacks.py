import pytest
import torch
from torch import nn

import gradlens as gl
from gradlens._probe import Probe
from gradlens._registry import attack, objective
from gradlens._types import Batch, UserError

ATTACKS, OBJECTIVES = list(attack), list(objective)
each_attack = pytest.mark.parametrize("name", ATTACKS)
each_norm = pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])


def size(delta, norm):
    return delta.flatten(1).abs().amax(1) if norm == "linf" else delta.flatten(1).norm(dim=1)


@each_attack
def test_attack_returns_images_and_leaves_the_given_ones(name, cnn, batch):
    before = batch.image.clone()
    attacked = gl.attack(Probe(cnn, batch), name).batch
    assert attacked.image.shape == batch.image.shape
    assert attacked.image.dtype == batch.image.dtype
    assert attacked.image.min() >= 0
    assert attacked.image.max() <= 1
    assert not torch.equal(attacked.image, before)
    assert torch.equal(batch.image, before)
    assert torch.equal(attacked.index, batch.index)


@each_attack
@pytest.mark.parametrize("of", OBJECTIVES)
def test_attack_raises_its_objective_of_every_image(name, cnn, batch, of):
    probe = Probe(cnn, batch)
    gain = gl.attack(probe, name, objective=of, eps=8 / 255).value(of) - probe.value(of)
    assert gain.min() >= 0
    assert (gain > 0).double().mean() > 0.9


@each_attack
def test_attack_of_an_image_does_not_depend_on_the_others(name, cnn, digits):
    batch, order = digits[slice(0, 16)], torch.randperm(16)
    shuffled = Batch(batch.image[order], batch.target[order], batch.index[order])
    found = gl.attack(Probe(cnn, batch), name).batch.image
    torch.testing.assert_close(gl.attack(Probe(cnn, shuffled), name).batch.image, found[order], rtol=0, atol=1e-6)
    mates = gl.attack(Probe(cnn, digits[slice(8, 24)]), name).batch.image
    torch.testing.assert_close(mates[:8], found[8:], rtol=0, atol=1e-6)


@each_attack
def test_attack_repeats_itself_under_one_seed(name, cnn, batch):
    one, same, other = (gl.attack(Probe(cnn, batch, seed=seed), name).batch.image for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@each_attack
def test_attack_of_unlabelled_images_departs_from_their_prediction(name, cnn, batch):
    probe = Probe(cnn, Batch(batch.image, None, batch.index))
    attacked = gl.attack(probe, name, eps=0.2)
    assert torch.equal(attacked.target, probe.prediction)
    assert attacked.correct.double().mean() < 0.5


@each_norm
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_stays_in_its_ball(cnn, batch, norm, eps, random_start):
    image = gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=eps, random_start=random_start).batch.image
    distance = size(image - batch.image, norm)
    assert distance.max() <= eps + 1e-6
    assert distance.max() > 0.9 * eps


@each_norm
def test_pgd_does_not_stretch_a_short_step(cnn, batch, norm, eps):
    room = {"norm": norm, "eps": eps, "steps": 1, "step_size": eps / 10, "random_start": False}
    image = gl.attack(Probe(cnn, batch), "pgd", **room).batch.image
    assert size(image - batch.image, norm).max() <= eps / 10 + 1e-6


def test_radius_in_l2_may_exceed_one(cnn, batch):
    image = gl.attack(Probe(cnn, batch), "pgd", norm="l2", eps=3.0).batch.image
    assert 2 < size(image - batch.image, "l2").max() <= 3 + 1e-6


@each_norm
def test_pgd_raises_the_loss_more_with_more_room(cnn, batch, norm, eps):
    losses = [gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=f * eps).loss.mean() for f in (0, 0.5, 1)]
    assert losses[0] == pytest.approx(Probe(cnn, batch).loss.mean().item())
    assert losses[0] < losses[1] < losses[2]


@pytest.fixture
def two_classes():
    """A linear float64 model, and images far enough from black and white for any step here."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = gl.load_model(net, mean=(0.5,) * 3, std=(0.2, 0.25, 0.3), device="cpu").double()
    image = 0.3 + 0.4 * torch.rand(6, 3, 8, 8, dtype=torch.float64)
    return model, Batch(image, torch.tensor([0, 1, 0, 1, 1, 0]), torch.arange(6))


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_finds_the_worst_case_of_a_linear_model(two_classes, norm, dual, steps):
    model, batch = two_classes
    eps, weight = 0.05, model.net[1].weight.detach()
    slope = (weight[batch.target] - weight[1 - batch.target]).view(6, 3, 8, 8) / model.std
    reach = slope.flatten(1).norm(dual, dim=1)
    expected = nn.functional.softplus(-(Probe(model, batch).margin - eps * reach))
    room = {"norm": norm, "eps": eps, "steps": steps, "step_size": eps, "random_start": False}
    attacked = gl.attack(Probe(model, batch), "pgd", **room)
    torch.testing.assert_close(attacked.loss, expected, rtol=1e-9, atol=0)
    direction = -slope.sign() if norm == "linf" else -slope / reach.view(-1, 1, 1, 1)
    torch.testing.assert_close(attacked.batch.image, batch.image + eps * direction, rtol=0, atol=1e-9)


def test_pgd_keeps_the_worst_image_it_has_seen(two_classes):
    model, batch = two_classes
    probe = Probe(model, batch)

    def overshooting(image):
        """Peaks at a short step along the gradient and falls beyond it."""
        moved = (image - batch.image).flatten(1).abs().amax(1)
        return -((moved - 0.01) ** 2), probe.gradient()

    def still(shape):
        return torch.full((6, *shape), 0.5)

    found = attack["pgd"](overshooting, batch.image, still, eps=0.05, steps=5, step_size=0.01)
    torch.testing.assert_close(
        size(found - batch.image, "linf"), torch.full((6,), 0.01, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_pgd_without_steps_is_its_random_start(cnn, batch):
    probe = Probe(cnn, batch)
    assert (gl.attack(probe, "pgd", steps=0).loss >= probe.loss).all()


def test_pgd_under_a_vanishing_scale_still_moves(cnn, batch):
    head = cnn.net[-1]
    with torch.no_grad():
        head.weight.mul_(60)
        head.bias.mul_(60)
    batch = Batch(batch.image, Probe(cnn, batch).prediction, batch.index)
    probe = Probe(cnn, batch)
    assert (probe.gradient() == 0).flatten(1).all(1).any()
    assert (gl.attack(probe, "pgd").loss > probe.loss).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"norm": "l1"}, "unknown norm 'l1'"), ({"eps": 8.0}, "eps is 8"), ({"eps": -0.1}, "eps is -0.1")],
)
def test_pgd_refuses_what_it_cannot_do(cnn, batch, wrong, message):
    with pytest.raises(UserError, match=message):
        gl.attack(Probe(cnn, batch), "pgd", **wrong)


def test_attack_may_be_asked_for_as_text(cnn, batch):
    found = gl.attack(Probe(cnn, batch), "pgd:norm=l2,eps=1/2,steps=3").batch.image
    expected = gl.attack(Probe(cnn, batch), "pgd", norm="l2", eps=0.5, steps=3).batch.image
    assert torch.equal(found, expected)
    with pytest.raises(UserError, match="did you mean pgd"):
        gl.attack(Probe(cnn, batch), "pdg")
