"""The loop: an update is torch's own, a resumed run is the uninterrupted one, and every mistake is one line."""

from __future__ import annotations

import dataclasses
import math
import os
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folders import CIFAR, CIFAR_TRAIN, place_cifar
from trainings import assert_same_state, comparable, config, set_up, train, weights

import gradlens as gl
from gradlens import Interrupted, UserError
from gradlens.training.engines import StepStats
from gradlens.training.methods import Objective
from gradlens.training.train import Training


def test_natural_update_is_torchs_own(tmp_path):
    given = config(tmp_path, opt="sgd", lr=0.1, sched="constant", weight_decay=0.0, batch_size=64, epochs=1)
    model, batches = set_up(given)
    _, batch, _ = batches[0]
    expected = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True)
    model.train()
    F.cross_entropy(model(batch.image), batch.target).backward()
    expected.step()
    found = weights(train(given).checkpoint)["state_dict"]
    for name, value in model.net.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


AUGMENTED = {"ema": 0.9, "shift": 2, "mixup": 0.4, "label_smoothing": 0.1, "random_erasing": 0.5}
PENALISED = {"penalty": "edge:alpha=1,step=.09", "accumulate": 2, "batch_size": 8}
ATTACKED = {
    "method": "pgd:steps=2",
    "precision": "bfloat16",
    "arch": "vit_tiny_patch16_224",
    "img_size": 32,
    "arch_kwargs": "img_size=32,depth=2,embed_dim=24,num_heads=2,proj_drop_rate=0.2",
}


def stopping_at(monkeypatch, number, how):
    """Training is asked to stop, or killed, in the midst of its update of that number; returns those done."""
    update, done = Training.update, []

    def stopping(self):
        update(self)
        done.append(1)
        if len(done) == number and how is None:
            raise SystemExit("killed")
        if len(done) == number:
            os.kill(os.getpid(), how)

    monkeypatch.setattr(Training, "update", stopping)
    return done


@pytest.mark.parametrize(
    ("given", "number", "how"),
    [
        pytest.param(AUGMENTED, 6, signal.SIGTERM, id="augmented"),
        pytest.param(PENALISED, 1, signal.SIGINT, id="penalised"),
        pytest.param(PENALISED, 7, None, id="penalised-killed"),
        pytest.param(ATTACKED, 4, signal.SIGTERM, id="attacked"),
    ],
)
def test_resumed_training_is_the_uninterrupted_one(tmp_path, monkeypatch, given, number, how):
    """Eight updates in two epochs; one that is killed goes on from its last whole epoch."""
    whole = train(config(tmp_path, out=tmp_path / "whole", **given))
    done = stopping_at(monkeypatch, number, how)
    with pytest.raises(Interrupted if how else SystemExit):
        train(config(tmp_path, **given))
    assert len(done) == number
    torch.rand(7)
    resumed = train(config(tmp_path, **given), resume=True)
    assert len(done) == (8 if how else number + 4)
    assert_same_state(weights(resumed.checkpoint), weights(whole.checkpoint))
    np.testing.assert_equal(comparable(resumed.history), comparable(whole.history))
    assert (tmp_path / "run" / "history.csv").read_text().count("\n") == 3


def test_callers_random_numbers_and_seed_of_the_weights(tmp_path):
    torch.manual_seed(5)
    expected, drawn = torch.rand(3), []
    for out in ("a", "b"):
        torch.manual_seed(5)
        result = train(config(tmp_path, out=tmp_path / out, epochs=1))
        assert torch.equal(torch.rand(3), expected)
        drawn.append(weights(result.checkpoint))
    assert_same_state(*drawn)
    other = weights(train(config(tmp_path, out=tmp_path / "c", epochs=1, seed=1)).checkpoint)
    assert not torch.equal(other["state_dict"]["0.weight"], drawn[0]["state_dict"]["0.weight"])


def test_finished_training_is_opened_and_not_done_again(tmp_path):
    first = train(config(tmp_path))
    before = first.checkpoint.stat().st_mtime_ns
    again = train(config(tmp_path, test_split="test"), resume=True)
    np.testing.assert_equal(again.history, first.history)
    assert first.checkpoint.stat().st_mtime_ns == before
    assert 0 <= again.test["test_pgd10"] <= again.test["test_top1"] <= 1


def test_checkpoint_opens_with_no_flags_and_measures_what_was_reported(tmp_path):
    given = config(tmp_path, arch="resnet20_cifar", activation="silu", limit=24, batch_size=8, epochs=1)
    given = dataclasses.replace(
        given, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), ema=0.5, eval_eps=0.0, eval_images=24
    )
    result = train(given)
    model = gl.load_model(result.checkpoint, device="cpu")
    card = model.card
    assert (card.arch, card.activation, card.weights) == ("resnet20_cifar", "silu", "ema")
    assert card.mean == pytest.approx((0.5, 0.4, 0.3))
    assert card.class_names == tuple("0123456789")
    val = gl.load_data("digits", limit=24)
    batch = val.bind(card.preprocess).batch(val.indices)
    top1 = float((model(batch.image).argmax(1) == batch.target).float().mean())
    assert result.history[-1]["val_top1"] == pytest.approx(top1)
    raw = gl.load_model(result.checkpoint, weights="raw", device="cpu")
    assert not torch.equal(raw.net.conv1.weight, model.net.conv1.weight)


def test_diverged_loss_stops_and_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    given = config(tmp_path)
    objective = Objective.__call__

    def exploding(self, model, batch, moment):
        stats = objective(self, model, batch, moment)
        return StepStats(math.nan) if moment.epoch >= 1.5 else stats

    monkeypatch.setattr(Objective, "__call__", exploding)
    with pytest.raises(UserError, match=r"diverged at update 7 .*last good checkpoint is .*last\.pt"):
        train(given)
    assert weights(given.out / "last.pt")["training"]["done"] == 4
    gl.load_model(given.out / "last.pt")


def test_diverging_learning_rate_stops(tmp_path):
    with pytest.raises(UserError, match="diverged at update"):
        train(config(tmp_path, opt="sgd", lr=1e30, epochs=3, sched="constant", clip=None))


def test_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradlens.models._checkpoint.torch.save", full)
    with pytest.raises(UserError, match=r"cannot write .*best\.pt: No space left"):
        train(config(tmp_path))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs is 0; wanted at least 1"),
        ({"warmup_epochs": 2}, "warmup_epochs is 2; wanted fewer than the 2 epochs"),
        ({"eval_eps": 3}, "eval_eps is 3; wanted a radius in pixels"),
        ({"eval_eps": "a/b"}, "eval_eps=a/b is no number"),
        ({"method": "pgd:eps=8"}, "eps is 8; wanted a radius in pixels"),
        ({"method": "pdg"}, "unknown method 'pdg'; did you mean pgd?"),
        ({"method": "pgd:step=3"}, "unknown parameter of method 'pgd' 'step'"),
        ({"method": "trades", "penalty": "gradnorm"}, "trades has a second term of its own"),
        ({"penalty": "gradnrm"}, "unknown penalty 'gradnrm'; did you mean gradnorm"),
        ({"penalty": "gradnorm:eps=8"}, "eps is 8"),
        ({"engine": "exact"}, "unknown engine 'exact'"),
        ({"sched": "cosin"}, "unknown schedule 'cosin'; did you mean cosine?"),
        ({"opt": "adamz"}, "adamz"),
        ({"bn": "eval_after"}, "bn is eval_after; wanted train, eval or eval_after:5"),
        ({"batch_size": 100}, "digits/train has 64 images, an update takes 1 × 1 × 100"),
        ({"mixup": 0.8, "batch_size": 15}, "batch_size is 15; wanted an even one"),
        ({"activation": "gelu", "arch": "torch.nn:Flatten"}, "found no activation module in Flatten"),
        ({"arch": None}, "neither an architecture nor a checkpoint"),
        ({"arch_kwargs": "1 +"}, "arch_kwargs '1 +' is not understood"),
        ({"penalty": "gradnorm", "precision": "bfloat16"}, "bfloat16 is coarser than a finite difference"),
        ({"arch": "vit_tiny_patch16_224", "img_size": 64, "arch_kwargs": "depth=1"}, "--arch-kwargs img_size=64"),
    ],
    ids=str,
)
def test_impossible_settings_are_one_line(tmp_path, given, said):
    with pytest.raises(UserError) as caught:
        train(config(tmp_path, **given))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_resume_refuses_another_recipe_and_start_refuses_a_folder_in_use(tmp_path):
    train(config(tmp_path, epochs=1))
    with pytest.raises(UserError, match="holds a training run; add --resume"):
        train(config(tmp_path, epochs=1))
    with pytest.raises(UserError, match=r"was trained with arch=digits_cnn:width=4, --resume was given preactresnet18"):
        train(config(tmp_path, epochs=1, arch="preactresnet18"), resume=True)
    (tmp_path / "run" / "last.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"last\.pt cannot be resumed"):
        train(config(tmp_path, epochs=1), resume=True)


@pytest.mark.slow
def test_preactresnet_trains_on_a_miniature_of_cifar(tmp_path, rng, monkeypatch):
    """The archive's files, of 32 × 32 pictures in ten classes, a colour each."""
    held = {}
    for name, count in {**dict.fromkeys(CIFAR_TRAIN, 40), "test_batch": 20}.items():
        labels = np.arange(count) % 10
        color = np.stack([20 * labels, 190 - 20 * labels, np.full(count, 100)], 1)[:, :, None]
        pixels = (rng.integers(0, 60, (count, 3, 1024)) + color).clip(0, 255).astype(np.uint8)
        held[name] = {"data": pixels.reshape(count, -1), "labels": labels.tolist()}
    place_cifar(monkeypatch, tmp_path / CIFAR, held)
    more = {"penalty": "gradnorm:alpha=.01", "flip": 0.5, "shift": 4, "eval_eps": 0}
    given = config(tmp_path, data="cifar10", data_dir=tmp_path, arch="preactresnet18", activation="gelu", **more)
    given = dataclasses.replace(given, limit=None, epochs=5, batch_size=20, lr=1e-3, eval_images=None)
    result = train(given)
    # Some forty updates of a network of 11 million: more than three standard errors above chance of 20 images.
    assert result.history[-1]["val_top1"] > 0.4
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[0]["engine_cosine"] > 0.999
    assert gl.load_model(result.checkpoint, device="cpu").card.class_names[3] == "cat"
