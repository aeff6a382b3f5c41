"""What a batch adds to the gradients: each method and penalty as its definition says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from trainings import NOW, config, set_up, train

import gradlens as gl
from gradlens.training.methods import Moment, Objective, choose_place, trades_step


@pytest.mark.parametrize("penalty", [None, "gradnorm:alpha=2", "edge:batchwise=false"])
def test_accumulated_batches_are_one_large_batch(tmp_path, penalty):
    """In evaluation mode, where images do not depend on batch-mates; exactly, since a finite step is one a batch."""
    gradients = []
    for size, accumulate in ((32, 1), (8, 4)):
        given = config(tmp_path, bn="eval", penalty=penalty, batch_size=size, accumulate=accumulate)
        model, batches = set_up(given)
        objective = Objective(dataclasses.replace(given, engine="double_backward"))
        for k in range(accumulate):
            objective(model.eval(), batches[k][1], NOW)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    large, small = gradients
    assert float((large - small).norm() / large.norm()) < 1e-5


def test_penalised_loss_is_written_out(tmp_path):
    given = config(tmp_path, bn="eval", penalty="gradnorm:eps=.1,alpha=0,step=.4,cap=2", loss_weight=0.8, weight=3.0)
    given = dataclasses.replace(given, engine="double_backward")
    model, batches = set_up(given)
    _, batch, _ = batches[0]
    Objective(given)(model.eval(), batch, NOW)
    found = [p.grad.clone() for p in model.parameters()]
    image = batch.image.clone().requires_grad_()
    each = F.cross_entropy(model(image), batch.target, reduction="none")
    (gradient,) = torch.autograd.grad(each.sum(), image, create_graph=True)
    total = 0.8 * each.mean() + 3 * 0.4 * 0.5 * 0.1 * gradient.abs().sum((1, 2, 3)).mean()
    for ours, theirs in zip(found, torch.autograd.grad(total, list(model.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", ["pgd:eps=8/255,steps=3", "fgsm:eps=8/255", "noise:eps=8/255"])
def test_methods_stay_in_the_ball_and_leave_the_network_alone(tmp_path, spec):
    model, batches = set_up(config(tmp_path))
    batch = batches[0][1]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    there = choose_place(spec)(model, batch, NOW)
    away = (there.image - batch.image).abs().amax()
    assert 0.9 * 8 / 255 < float(away) <= 8 / 255 + 1e-6
    assert float(there.image.min()) >= 0
    assert float(there.image.max()) <= 1
    assert torch.equal(there.target, batch.target)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_attacks_raise_the_loss_and_noise_hardly_does(tmp_path):
    result = train(config(tmp_path, limit=512, epochs=3, lr=1e-2))
    model = gl.load_model(result.checkpoint, device="cpu")
    batch = gl.load_data("digits").batch(range(64))

    def at(spec):
        there = choose_place(spec)(model, batch, NOW)
        return float(F.cross_entropy(model(there.image), there.target).detach())

    natural, noise, pgd = at("natural"), at("noise:eps=.05"), at("pgd:eps=.05,steps=5")
    assert pgd > 1.5 * natural
    assert pgd - natural > 5 * abs(noise - natural)


def test_attack_step_grows_over_the_warmup(tmp_path):
    model, batches = set_up(config(tmp_path))
    batch = batches[0][1]
    method = choose_place("pgd:eps=.1,steps=1,step_size=.08,random_start=false,warmup=5")
    moved = [float((method(model, batch, Moment(e, 0)).image - batch.image).abs().amax()) for e in (0, 2.5, 5, 50)]
    assert moved == pytest.approx([0, 0.04, 0.08, 0.08], abs=1e-6)


def test_trades_is_its_definition(tmp_path, monkeypatch):
    model, batches = set_up(config(tmp_path))
    batch = batches[0][1]
    model.eval()
    there = batch.image.flip(3)
    moved = lambda model, soft, *rest: dataclasses.replace(soft, image=there)  # noqa: E731
    monkeypatch.setattr("gradlens.training.methods.pgd", moved)
    trades_step(model, batch, NOW, 0.5, beta=6.0)
    found = [p.grad.clone() for p in model.parameters()]
    p, q = model(batch.image).softmax(1), model(there).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = 0.5 * (F.cross_entropy(model(batch.image), batch.target) + 6 * divergence)
    for ours, theirs in zip(found, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_trades_attack_raises_the_divergence(tmp_path):
    model, batches = set_up(config(tmp_path))
    found = [trades_step(model.eval(), batches[0][1], NOW, 1.0, eps=0.1, steps=steps).penalty for steps in (0, 5)]
    assert found[1] > 2 * found[0] > 0
