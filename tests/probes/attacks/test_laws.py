"""Every attack raises its objective of each image alone, repeats itself, and refuses what it cannot do."""

import pytest
import torch
from attack_cases import size
from refusals import refused

import gradlens as gl
from gradlens.core.registry import attack, objective
from gradlens.core.types import Batch, UserError
from gradlens.probes.probe import Probe

# AutoAttack is another package's, not in one batch's independence of another's, and slow: tested apart.
ATTACKS, OBJECTIVES = [name for name in attack if name != "autoattack"], list(objective)
# Such that a test need not wait, and that chance plays its part.
LAWFUL = {"fgsm": {"random_start": True}, "square": {"queries": 60}}
each_attack = pytest.mark.parametrize("name", ATTACKS)


def attacked(name, probe, objective="loss", **parameters):
    return gl.attack(probe, name, objective, **{**LAWFUL.get(name, {}), **parameters})


@each_attack
def test_attack_returns_images_and_leaves_the_given_ones(name, cnn, batch):
    before = batch.image.clone()
    found = attacked(name, Probe(cnn, batch)).batch
    assert found.image.shape == batch.image.shape
    assert found.image.dtype == batch.image.dtype
    assert found.image.min() >= 0
    assert found.image.max() <= 1
    assert not torch.equal(found.image, before)
    assert torch.equal(batch.image, before)
    assert torch.equal(found.index, batch.index)


@each_attack
@pytest.mark.parametrize("of", [*OBJECTIVES, "-margin"])
def test_attack_raises_its_objective_of_every_image(name, cnn, batch, of):
    probe, sign = Probe(cnn, batch), -1 if of.startswith("-") else 1
    found = attacked(name, probe, of, eps=8 / 255).value(of.removeprefix("-"))
    gain = sign * (found - probe.value(of.removeprefix("-")))
    assert (gain > 0).double().mean() > 0.9
    # A single step is not looked back upon.
    assert name == "fgsm" or gain.min() >= 0


@each_attack
def test_attack_on_the_margin_finds_what_is_taken_for_another_class(name, cnn, digits):
    probe = Probe(cnn, digits)
    one, other = (attacked(name, probe, of, eps=0.2) for of in ("-margin", "margin"))
    assert other.correct[probe.correct].all()
    assert one.correct.sum() < probe.correct.sum() / 2


@each_attack
def test_attack_of_an_image_does_not_depend_on_the_others(name, cnn, digits):
    batch, order = digits[slice(0, 16)], torch.randperm(16)
    shuffled = Batch(batch.image[order], batch.target[order], batch.index[order])
    found = attacked(name, Probe(cnn, batch)).batch.image
    torch.testing.assert_close(attacked(name, Probe(cnn, shuffled)).batch.image, found[order], rtol=0, atol=1e-6)
    mates = attacked(name, Probe(cnn, digits[slice(8, 24)])).batch.image
    torch.testing.assert_close(mates[:8], found[8:], rtol=0, atol=1e-6)


@each_attack
def test_attack_repeats_itself_under_one_seed(name, cnn, batch):
    one, same, other = (attacked(name, Probe(cnn, batch, seed=seed)).batch.image for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@each_attack
def test_attack_of_unlabelled_images_departs_from_their_prediction(name, cnn, batch):
    probe = Probe(cnn, Batch(batch.image, None, batch.index))
    found = attacked(name, probe, eps=0.2)
    assert torch.equal(found.target, probe.prediction)
    assert found.correct.double().mean() < 0.5


@each_attack
def test_attack_with_a_radius_for_each_image_is_the_attack_with_each_radius(name, cnn, batch):
    probe, eps = Probe(cnn, batch), torch.linspace(0, 0.2, 16)
    found = attacked(name, probe, eps=eps).batch.image
    torch.testing.assert_close(size(found - batch.image, "linf").clamp(max=eps), size(found - batch.image, "linf"))
    for k in (0, 7, 15):
        alone = attacked(name, probe, eps=eps[k].item()).batch.image[k]
        torch.testing.assert_close(found[k], alone, rtol=0, atol=1e-6)
    assert torch.equal(found[0], batch.image[0])


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("pgd", {"norm": "l1"}, ["unknown norm 'l1'"]),
        ("pgd", {"eps": 8.0}, ["eps is 8"]),
        ("pgd", {"eps": -0.1}, ["eps is -0.1"]),
        ("pgd", {"eps": float("nan")}, ["eps is nan"]),
        ("pgd", {"norm": "l2", "eps": 100.0}, ["eps is 100", "l2"]),
        ("pgd", {"step_size": -0.1}, ["step_size=-0.1"]),
        ("pgd", {"restarts": 0}, ["restarts=0"]),
        ("pgd", {"restarts": 2, "random_start": False}, ["restarts=2", "random_start=true"]),
        ("pgd", {"restarts": 2, "keep_worst": False}, ["restarts=2", "keep_worst=true"]),
        ("fgsm", {"norm": "l0"}, ["unknown norm 'l0'"]),
        ("square", {"eps": 2.0}, ["eps is 2"]),
        ("square", {"queries": 0}, ["queries=0"]),
        ("square", {"area": 0.0}, ["area=0"]),
        ("autoattack", {"norm": "l0"}, ["'l0'", "linf"]),
        ("autoattack", {"version": "fast"}, ["'fast'", "standard"]),
    ],
)
def test_an_attack_refuses_what_it_cannot_do(cnn, batch, name, wrong, words):
    if name == "autoattack":
        pytest.importorskip("pyautoattack")
    with refused(*words):
        gl.attack(Probe(cnn, batch), name, **wrong)


def test_attack_may_be_asked_for_as_text(cnn, batch):
    found = gl.attack(Probe(cnn, batch), "pgd:norm=l2,eps=1/2,steps=3").batch.image
    expected = gl.attack(Probe(cnn, batch), "pgd", norm="l2", eps=0.5, steps=3).batch.image
    assert torch.equal(found, expected)
    with pytest.raises(UserError, match="did you mean pgd"):
        gl.attack(Probe(cnn, batch), "pdg")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_leaves_its_ball_is_refused(cnn, batch, norm, monkeypatch):
    def careless(evaluate, image, noise, norm: str = "linf", eps: float = 0.01):
        away = 0.5 - image
        return image + 1.01 * eps * away / size(away, norm).view(-1, 1, 1, 1)

    monkeypatch.setitem(attack._methods, "careless", careless)
    with refused("'careless' left its ball", norm):
        gl.attack(Probe(cnn, batch), "careless", norm=norm)
    with refused("left its ball"):
        gl.attack(Probe(cnn, batch), f"careless:norm={norm},eps=.1")


def test_the_value_of_the_given_images_is_not_computed_again(cnn, batch):
    passed = []
    hook = cnn.register_forward_hook(lambda *_: passed.append(1))
    gl.attack(Probe(cnn, batch), "pgd", steps=3)
    hook.remove()
    assert len(passed) == 5


def test_a_model_without_gradients_is_refused(batch):
    class Cut(torch.nn.Module):
        def forward(self, image):
            return image.detach().flatten(1)[:, :10]

    with refused("no gradient"):
        gl.attack(Probe(Cut(), batch), "pgd")
