import sys

import pytest
import torch
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.core.registry import attack, objective
from gradlens.core.types import Batch, UserError
from gradlens.probes.attacks import Evaluate
from gradlens.probes.probe import Probe

# AutoAttack is another package's, not in one batch's independence of another's, and slow: tested apart.
ATTACKS, OBJECTIVES = [name for name in attack if name != "autoattack"], list(objective)
# Such that a test need not wait, and that chance plays its part.
LAWFUL = {"fgsm": {"random_start": True}, "square": {"queries": 60}}
each_attack = pytest.mark.parametrize("name", ATTACKS)
each_norm = pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])


def attacked(name, probe, objective="loss", **parameters):
    return gl.attack(probe, name, objective, **{**LAWFUL.get(name, {}), **parameters})


def size(delta, norm):
    return delta.flatten(1).abs().amax(1) if norm == "linf" else delta.flatten(1).norm(dim=1)


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


class Scripted:
    """An attack's view of a function of images, which remembers what it was asked."""

    def __init__(self, value, gradient=None):
        self.of, self.gradient = value, gradient
        self.asked, self.gradients = [], 0

    def value(self, image):
        self.asked.append(image.clone())
        return self.of(image)

    def __call__(self, image):
        self.gradients += 1
        return self.value(image), self.gradient(image)


def still(shape, draw=0):
    return torch.full((6, *shape), 0.5)


def test_pgd_keeps_the_worst_image_it_has_seen(two_classes):
    model, batch = two_classes
    probe = Probe(model, batch)

    def overshooting(image):
        """Peaks at a short step along the gradient and falls beyond it."""
        return -((size(image - batch.image, "linf") - 0.01) ** 2)

    evaluate = Scripted(overshooting, lambda image: probe.gradient())
    found = attack["pgd"](evaluate, batch.image, still, eps=0.05, steps=5, step_size=0.01)
    expected = torch.full((6,), 0.01, dtype=torch.float64)
    torch.testing.assert_close(size(found - batch.image, "linf"), expected, rtol=0, atol=1e-12)
    last = attack["pgd"](evaluate, batch.image, still, eps=0.05, steps=5, step_size=0.01, keep_worst=False)
    torch.testing.assert_close(size(last - batch.image, "linf"), 5 * expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("keep_worst", "passes"), [(True, 9), (False, 7)])
def test_pgd_takes_one_gradient_a_step(two_classes, keep_worst, passes):
    _, batch = two_classes
    evaluate = Scripted(lambda image: image.flatten(1).sum(1), torch.ones_like)
    attack["pgd"](evaluate, batch.image, still, steps=7, keep_worst=keep_worst)
    assert (evaluate.gradients, len(evaluate.asked)) == (7, passes)


@each_norm
def test_pgd_is_the_papers_loop(cnn, batch, norm, eps):
    """One image at a time, the gradient of F.cross_entropy by autograd, projections written out."""
    found = gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=eps, steps=4, keep_worst=False, random_start=False)
    for x, y, expected in zip(batch.image[:4], batch.target[:4], found.batch.image, strict=False):
        at = x.clone()
        for _ in range(4):
            leaf = at.clone().requires_grad_()
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(cnn(leaf[None]), y[None]), leaf)
            at = at + 2.5 * eps / 4 * (g.sign() if norm == "linf" else g / g.norm())
            delta = at - x
            delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1, eps / delta.norm())
            at = (x + delta).clamp(0, 1)
        off = (expected - at).abs() > 1e-4
        # Gradients that round to another sign leave single pixels a step apart.
        assert off.double().mean() < 0.01


def test_every_restart_of_pgd_begins_elsewhere_and_the_worst_is_kept(two_classes):
    _, batch = two_classes
    heights = torch.rand(6, 3, 8, 8, dtype=torch.float64)

    def noise(shape, draw=0):
        generator = torch.Generator().manual_seed(draw)
        return torch.rand(6, *shape, generator=generator, dtype=torch.float64)

    evaluate = Scripted(lambda image: (heights * image).flatten(1).sum(1), torch.zeros_like)
    found = attack["pgd"](evaluate, batch.image, noise, eps=0.1, steps=0, restarts=4)
    clean, *starts = evaluate.asked
    assert torch.equal(clean, batch.image)
    assert len({s.sum().item() for s in starts}) == 4
    values = torch.stack([evaluate.of(image) for image in evaluate.asked])
    assert torch.equal(evaluate.of(found), values.amax(0))
    assert len(set(values.argmax(0).tolist())) > 1


def test_restarts_of_an_image_do_not_repeat_and_do_not_weaken_its_attack(cnn, batch):
    losses = [gl.attack(Probe(cnn, batch), "pgd", steps=2, restarts=n).loss for n in (1, 2, 6)]
    assert (losses[0] <= losses[1]).all()
    assert (losses[1] <= losses[2]).all()
    assert (losses[0] < losses[2]).double().mean() > 0.5


def test_fgsm_is_a_step_along_the_sign(cnn, batch):
    probe = Probe(cnn, batch)
    found = gl.attack(probe, "fgsm", eps=0.1).batch.image
    torch.testing.assert_close(found, (batch.image + 0.1 * probe.gradient().sign()).clamp(0, 1), rtol=0, atol=1e-6)
    found = gl.attack(probe, "fgsm", eps=0.1, step_size=0.03, norm="l2").batch.image
    gradient = probe.gradient()
    step = 0.03 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, (batch.image + step).clamp(0, 1), rtol=0, atol=1e-6)


def test_fgsm_from_a_random_start_is_the_recipe_of_fast_adversarial_training(two_classes):
    _, batch = two_classes
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    slope = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    evaluate = Scripted(lambda image: torch.zeros(6), lambda image: slope)
    found = attack["fgsm"](evaluate, batch.image, lambda shape, draw: uniform, eps=0.1, random_start=True)
    start = batch.image + (2 * uniform - 1) * 0.1
    delta = (start + 0.125 * slope.sign() - batch.image).clamp(-0.1, 0.1)
    torch.testing.assert_close(found, batch.image + delta, rtol=0, atol=1e-12)
    torch.testing.assert_close(evaluate.asked[0], start, rtol=0, atol=1e-12)
    assert evaluate.gradients == len(evaluate.asked) == 1


def paper_side(query, queries, area, pixels):
    """Andriushchenko et al. 2020: p is halved at these of 10,000 iterations."""
    position, halvings = 10_000 * query / queries, 0
    for step in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        halvings += position > step
    return max(1, round((area / 2**halvings * pixels) ** 0.5))


def test_square_asks_for_values_of_squares_of_the_papers_sizes():
    image = torch.full((1, 3, 20, 20), 0.5, dtype=torch.float64)

    def noise(shape, draw=0):
        return torch.rand(1, *shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)

    weight = torch.randn(3, 20, 20, dtype=torch.float64)
    evaluate = Scripted(lambda x: (weight * x).flatten(1).sum(1))
    found = attack["square"](evaluate, image, noise, eps=0.1, queries=200)
    assert evaluate.gradients == 0
    clean, stripes, *tried = evaluate.asked
    assert torch.equal(clean, image)
    assert len(tried) == 199
    column = stripes[0, :, :1] - 0.5
    torch.testing.assert_close(stripes[0] - 0.5, column.expand(3, 20, 20))
    torch.testing.assert_close(column.abs(), torch.full_like(column, 0.1))
    current, positions = stripes, set()
    for query, candidate in enumerate(tried, 1):
        side = paper_side(query, 200, 0.8, 400)
        changed = (candidate != current)[0].any(0).nonzero()
        delta = candidate - 0.5
        torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
        if len(changed):
            assert (changed.amax(0) - changed.amin(0) < side).all()
            positions.add(tuple(changed.amin(0).tolist()))
        if evaluate.of(candidate) > evaluate.of(current):
            current = candidate
    assert torch.equal(found, current)
    assert len(positions) > 20


def test_square_comes_near_the_worst_case_of_a_linear_model(two_classes):
    model, batch = two_classes
    weight = model.net[1].weight.detach()
    slope = ((weight[batch.target] - weight[1 - batch.target]).view(6, 3, 8, 8) / model.std).flatten(1)
    probe = Probe(model, batch)
    lost = probe.margin - gl.attack(probe, "square", "-margin", eps=0.05, queries=1500).margin
    assert (lost <= 0.05 * slope.abs().sum(1) + 1e-9).all()
    assert (lost > 0.8 * 0.05 * slope.abs().sum(1)).all()


def test_square_needs_no_gradient(cnn, digits):
    class Rounded(nn.Module):
        def forward(self, image):
            return (cnn(image) * 4).round() / 4

    probe = Probe(Rounded(), digits)
    assert gl.attack(probe, "pgd", "-margin", eps=0.2, random_start=False).correct[probe.correct].all()
    left = gl.attack(probe, "square", "-margin", eps=0.2, queries=100).correct
    assert left.sum() < probe.correct.sum() / 2


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
    ("name", "wrong", "words"),
    [
        ("pgd", {"norm": "l1"}, ["unknown norm 'l1'"]),
        ("pgd", {"eps": 8.0}, ["eps is 8"]),
        ("pgd", {"eps": -0.1}, ["eps is -0.1"]),
        ("pgd", {"eps": float("nan")}, ["eps is nan"]),
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


def test_autoattack_breaks_what_it_can_and_stays_in_its_ball(cnn, batch):
    pytest.importorskip("pyautoattack")
    probe, state, tracer = Probe(cnn, batch), torch.get_rng_state(), sys.gettrace()
    found = gl.attack(probe, "autoattack", eps=0.3)
    assert not found.correct.any()
    assert size(found.batch.image - batch.image, "linf").max() <= 0.3 + 1e-6
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.gettrace() is tracer


def test_autoattack_leaves_what_it_cannot_break(cnn, batch, monkeypatch):
    package = pytest.importorskip("pyautoattack")
    # The first of its four attacks is enough here.
    first = {"attacks_to_run": ["apgd-ce"]}
    monkeypatch.setattr(package.AutoAttack, "_set_version", lambda self, version: vars(self).update(first))
    probe = Probe(cnn, batch)
    found, by_pgd = (gl.attack(probe, name, eps=0.01) for name in ("autoattack", "pgd"))
    assert 0 < found.correct.sum() <= by_pgd.correct.sum() < probe.correct.sum()
    assert torch.equal(found.batch.image[found.correct], batch.image[found.correct])


def test_autoattack_without_its_package_says_how_to_get_it(cnn, batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with refused("pyautoattack", "gradlens[attacks]"):
        gl.attack(Probe(cnn, batch), "autoattack")


def test_the_logits_that_other_packages_attack_are_the_models(cnn, batch):
    evaluate, image = Evaluate(Probe(cnn, batch).at), batch.image[:5].clone().requires_grad_()
    weight = torch.randn(5, 10)
    (expected,) = torch.autograd.grad((cnn(image) * weight).sum(), image)
    found = evaluate.logits(image)
    torch.testing.assert_close(found, cnn(image))
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), image)[0], expected)
    assert not evaluate.logits(image.detach()).requires_grad
