"""One update of a network: clipping, moving average, learning rate, BatchNorm's mode, ruined weights."""

from __future__ import annotations

import math

import pytest
import torch
from trainings import NOW, config, set_up, train

import gradlens as gl
from gradlens import UserError
from gradlens.training._trainee import Trainee, make_schedule


def test_moving_average_and_clipping_are_their_definitions(tmp_path):
    given = config(
        tmp_path, ema=0.75, clip=0.01, opt="momentum", momentum=0.0, lr=0.5, sched="constant", weight_decay=0.0
    )
    model, batches = set_up(given)
    trainee = Trainee(given, model, batches.updates)
    average = None
    for k in range(4):
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        trainee.objective(model.train(), batches[k][1], NOW)
        assert trainee.update(k + 1) > 0.01
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert float((after - before).norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)
        # timm begins with the weights after the first update.
        average = after.clone() if average is None else 0.75 * average + 0.25 * after
    found = torch.cat([p.flatten() for p in trainee.ema.module.parameters()])
    torch.testing.assert_close(found, average)


def test_learning_rate_rises_and_falls(tmp_path):
    given = config(tmp_path, epochs=10, warmup_epochs=2, warmup_lr=0.0, lr=1.0, min_lr=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = make_schedule(given, optimizer, updates=5)
    found = []
    for done in range(51):
        schedule(done)
        found.append(optimizer.param_groups[0]["lr"])
    assert found[:10] == pytest.approx([k / 10 for k in range(10)])
    cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * k / 50)) for k in range(10, 50)]
    assert found[10:50] == pytest.approx(cosine)
    assert found[50] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("bn", "moves"), [("train", [True, True]), ("eval", [False, False]), ("eval_after:1", [True, False])]
)
def test_batchnorm_moves_as_the_recipe_says(tmp_path, bn, moves):
    given = config(tmp_path, bn=bn)
    model, batches = set_up(given)
    trainee = Trainee(given, model, batches.updates)
    for epoch, expected in enumerate(moves):
        before = model.net[1].running_mean.clone()
        trainee.set_mode(epoch + 0.5)
        trainee.objective(model, batches[0][1], NOW)
        assert (not torch.equal(before, model.net[1].running_mean)) == expected


def test_weights_that_an_epochs_last_update_ruined_are_not_saved(tmp_path, monkeypatch):
    update = Trainee.update

    def ruining(self, done):
        norm = update(self, done)
        if done == 8:
            self.model.net[0].weight.data[0] = math.inf
        return norm

    monkeypatch.setattr(Trainee, "update", ruining)
    with pytest.raises(UserError, match="diverged at update 8"):
        train(config(tmp_path))
    gl.load_model(tmp_path / "run" / "last.pt")
