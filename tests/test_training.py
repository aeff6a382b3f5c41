"""Training: what an update is, that a resumed run is the uninterrupted one, and every mistake in one line."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from folders import CIFAR, CIFAR_TRAIN, place_cifar
from PIL import Image

import gradlens as gl
from gradlens import Interrupted, UserError
from gradlens.cli.main import main
from gradlens.training import _memory, _training
from gradlens.training._augment import each_image
from gradlens.training._batches import TrainingBatches
from gradlens.training._memory import memory, step_bytes
from gradlens.training._objective import Objective
from gradlens.training._setup import Schedule, open_model, open_split
from gradlens.training._trainee import Trainee
from gradlens.training.config import TrainConfig, read_config
from gradlens.training.engines import StepStats
from gradlens.training.methods import Moment, choose_place, trades_step
from gradlens.training.train import TrainResult

SMALL = {
    "data": "digits",
    "arch": "digits_cnn:width=4",
    "limit": 64,
    "epochs": 2,
    "batch_size": 16,
    "eval_images": 16,
    "device": "cpu",
}
NOW = Moment(0.5, 3)


def config(tmp_path, **given):
    return TrainConfig(**{**SMALL, "out": tmp_path / "run", **given})


def train(*args, **kwargs):
    return gl.train(*args, progress=False, **kwargs)


def weights(file):
    return torch.load(file, weights_only=True)


def assert_same_state(a, b):
    for kind in ("state_dict", "ema"):
        assert a.get(kind, {}).keys() == b.get(kind, {}).keys()
        assert all(torch.equal(v, b[kind][k]) for k, v in a.get(kind, {}).items())


def comparable(rows):
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def set_up(config):
    data = open_split(config, "train")
    model = open_model(config, data)
    batches = TrainingBatches(data.bind(model.card.preprocess), config)
    return model, batches


# One update


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


def test_moving_average_and_clipping_are_their_definitions(tmp_path):
    given = config(
        tmp_path, ema=0.75, clip=0.01, opt="momentum", momentum=0.0, lr=0.5, sched="constant", weight_decay=0.0
    )
    model, batches = set_up(given)
    trainee = Trainee(given, model, batches)
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
    schedule = Schedule(given, optimizer, updates=5)
    found = []
    for done in range(51):
        schedule.set(done)
        found.append(optimizer.param_groups[0]["lr"])
    assert found[:10] == pytest.approx([k / 10 for k in range(10)])
    cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * k / 50)) for k in range(10, 50)]
    assert found[10:50] == pytest.approx(cosine)
    assert found[50] == pytest.approx(0.1)


# What is trained on


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


# Order and augmentation


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own(tmp_path):
    _, batches = set_up(config(tmp_path))
    epochs = [[i for k in range(4) for i in batches[4 * e + k][1].index.tolist()] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(batches.data.indices.tolist())
    assert epochs[0] != epochs[1]
    _, again = set_up(config(tmp_path))
    assert [i for k in range(4) for i in again[k][1].index.tolist()] == epochs[0]
    _, other = set_up(config(tmp_path, seed=1))
    assert other[0][1].index.tolist() != epochs[0][:16]


def test_shift_and_flip_are_each_images_own(tmp_path, digits):
    given = config(tmp_path, shift=2, flip=0.5)
    whole = each_image(given, digits, 0)
    alone = [each_image(given, digits[slice(i, i + 1)], 0).image for i in range(len(digits))]
    assert torch.equal(whole.image, torch.cat(alone))
    padded = F.pad(digits.image, (2, 2, 2, 2), mode="replicate")
    candidates = [
        (flipped[:, :, d : d + 32, a : a + 32], d, a, f)
        for f, flipped in enumerate((padded, padded.flip(3)))
        for d in range(5)
        for a in range(5)
    ]
    chosen = set()
    for i in range(len(digits)):
        matches = [c[1:] for c in candidates if torch.equal(c[0][i], whole.image[i])]
        assert matches
        chosen.update(matches)
    assert len(chosen) > 25
    assert not torch.equal(each_image(given, digits, 1).image, whole.image)


def test_timms_augmentation_stays_in_range_and_repeats(tmp_path):
    picture = {"crop_scale": 0.3, "rand_augment": "rand-m9-mstd0.5", "color_jitter": 0.4, "data": "photos"}
    mixed = {"mixup": 0.8, "cutmix": 1.0, "random_erasing": 1.0, "label_smoothing": 0.1}
    given = config(tmp_path, **picture, **mixed)
    model, batches = set_up(given)
    _, first, _ = batches[0]
    assert torch.equal(first.image, batches[0][1].image)
    whole = _training.WholeBatch(given, 8, model.mean, model.std)
    torch.manual_seed(0)
    np.random.seed(0)
    batch = whole(first)
    for image in (first.image, batch.image):
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
    assert batch.target.shape == (16, 8)
    torch.testing.assert_close(batch.target.sum(1), torch.ones(16))


# Resuming


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
    update, done = _training.Training.update, []

    def stopping(self):
        update(self)
        done.append(1)
        if len(done) == number and how is None:
            raise SystemExit("killed")
        if len(done) == number:
            os.kill(os.getpid(), how)

    monkeypatch.setattr(_training.Training, "update", stopping)
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


def test_workers_decode_the_same_images(tmp_path):
    given = {"rand_augment": "rand-m9-mstd0.5", "crop_scale": 0.5, "epochs": 1, "limit": 32, "eval_eps": 0}
    results = [train(config(tmp_path, out=tmp_path / str(n), workers=n, **given)) for n in (0, 2)]
    assert_same_state(*(weights(result.checkpoint) for result in results))


# Checkpoints


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


def test_fine_tuning_swaps_the_activation_and_keeps_the_weights(tmp_path):
    first = train(config(tmp_path, arch="digits_cnn:width=4,activation=relu", epochs=1))
    given = config(tmp_path, out=tmp_path / "more", arch=None, init=str(first.checkpoint), activation="gelu")
    data = open_split(given, "train")
    model = open_model(given, data)
    assert torch.equal(model.net[0].weight, weights(first.checkpoint)["state_dict"]["0.weight"])
    second = train(given)
    assert gl.load_model(second.checkpoint).card.activation == "gelu"


@pytest.mark.parametrize(
    ("bn", "moves"), [("train", [True, True]), ("eval", [False, False]), ("eval_after:1", [True, False])]
)
def test_batchnorm_moves_as_the_recipe_says(tmp_path, bn, moves):
    given = config(tmp_path, bn=bn)
    model, batches = set_up(given)
    trainee = Trainee(given, model, batches)
    for epoch, expected in enumerate(moves):
        before = model.net[1].running_mean.clone()
        trainee.set_mode(epoch + 0.5)
        trainee.objective(model, batches[0][1], NOW)
        assert (not torch.equal(before, model.net[1].running_mean)) == expected


# Mistakes


def test_small_images_that_are_enlarged_are_said(tmp_path, caplog):
    given = config(tmp_path, arch="resnet18")
    with caplog.at_level(logging.WARNING, "gradlens"):
        open_model(given, open_split(given, "train"))
        open_model(dataclasses.replace(given, img_size=32), open_split(given, "train"))
        open_model(config(tmp_path), open_split(given, "train"))
    (said,) = caplog.messages
    assert said.startswith("digits/train's images of 32² are enlarged to resnet18's 224², which takes about 49 times")
    assert said.endswith("--img-size 32 keeps them")


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
        ({"arch": "vit_tiny_patch16_224", "img_size": 64, "arch_kwargs": "depth=1"}, "give --img-size"),
    ],
    ids=str,
)
def test_impossible_settings_are_one_line(tmp_path, given, said):
    with pytest.raises(UserError) as caught:
        train(config(tmp_path, **given))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_unlabelled_data_are_refused(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (i, 0, 0)).save(folder / split / f"{i}.png")
    with pytest.raises(UserError, match="label"):
        train(config(tmp_path, data=str(folder)))


def test_splits_of_other_classes_are_refused(tmp_path):
    for split, names in (("train", "ab"), ("val", "ac")):
        for name in names:
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / name / "0.png")
    with pytest.raises(UserError, match=r"other classes than the images trained on \(b, c\)"):
        train(config(tmp_path, data=str(tmp_path / "data")))


def test_resume_refuses_another_recipe_and_start_refuses_a_folder_in_use(tmp_path):
    train(config(tmp_path, epochs=1))
    with pytest.raises(UserError, match="holds a training run; add --resume"):
        train(config(tmp_path, epochs=1))
    with pytest.raises(UserError, match=r"was trained with arch=digits_cnn:width=4, --resume was given preactresnet18"):
        train(config(tmp_path, epochs=1, arch="preactresnet18"), resume=True)
    (tmp_path / "run" / "last.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"last\.pt cannot be resumed"):
        train(config(tmp_path, epochs=1), resume=True)


# Command line and files

WORDS = ["train", "--data", "digits", "--arch", "digits_cnn:width=4", "--limit", "32", "-b", "16", "--epochs", "1"]
WORDS += ["--eval-images", "16", "--device", "cpu"]


def test_seeds_and_grid_train_in_their_own_folders_and_only_the_best_sees_the_test_split(tmp_path, capsys, monkeypatch):
    seen = []
    scores = _training.Training.test_scores

    def counted(self):
        if self.config.test_split:
            seen.append(str(self.config.out.relative_to(tmp_path)))
        return scores(self)

    monkeypatch.setattr(_training.Training, "test_scores", counted)
    more = ["--seeds", "0-1", "--grid", "lr=1e-9,3e-2", "--eval-eps", "0", "--test-split", "test", "-o", str(tmp_path)]
    assert main([*WORDS, *more]) == 0
    said = capsys.readouterr().out
    folders = {str(f.parent.relative_to(tmp_path)) for f in tmp_path.rglob("last.pt")}
    assert folders == {f"lr={lr}/s{seed}" for lr in ("1e-9", "3e-2") for seed in (0, 1)}
    best = "lr=3e-2" if "best on val: lr=3e-2" in said else "lr=1e-9"
    assert seen == [f"{best}/s0", f"{best}/s1"]
    assert said.count("test_top1") == 2


def test_a_diverged_setting_does_not_end_the_grid(tmp_path, capsys):
    given = ["--opt", "sgd", "--sched", "constant", "--grid", "lr=1e30,1e-2", "--epochs", "3", "-o", str(tmp_path)]
    assert main([*WORDS, *given]) == 0
    said = capsys.readouterr().out
    assert "lr=1e30, seed 0: the loss diverged" in said
    assert "best on val: lr=1e-2" in said


def test_flags_go_before_the_file_even_where_they_say_the_default(tmp_path, capsys):
    file = tmp_path / "preset.toml"
    file.write_text('data = "digits"\narch = "digits_cnn:width=4"\nseed = 3\nlr = 1\neval_eps = 0\n')
    out = tmp_path / "run"
    words = ["train", "--config", str(file), "--seed", "0", "--lr", "1e-3", "-o", str(out), *WORDS[5:]]
    assert main(words) == 0
    kept = weights(out / "last.pt")["training"]["config"]
    assert (kept["seed"], kept["lr"], kept["eval_eps"]) == (0, 1e-3, 0)
    assert main(words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = ", "is not TOML"),
        ('data = "digits"\nepoch = 3', "unknown key of"),
        ('data = "digits"\narch = "resnet50"\nepochs = "3"', "epochs = '3'; wanted int"),
        ('data = "digits"\narch = "resnet50"\nclip = true', "clip = True; wanted float"),
        ('arch = "resnet50"', "no data is given"),
    ],
)
def test_wrong_presets_are_one_line(tmp_path, text, said):
    file = tmp_path / "preset.toml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# Several processes, and larger networks

SCRIPT = """
import sys, gradlens as gl
out, size, penalty, engine = sys.argv[1:]
gl.train(gl.TrainConfig(
    data="digits", arch="digits_cnn:width=4", out=out, limit=64, epochs=2, batch_size=int(size), bn="eval", shift=2,
    opt="sgd", lr=0.05, clip=1.0, penalty=penalty or None, engine=engine, eval_images=32, device="cpu",
), progress=False)
"""


def launch(folder, out, ranks, size, penalty, engine):
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("out=out", "out=__import__('pathlib').Path(out)"))
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(out), str(size), penalty, engine],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(gl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("penalty", "engine", "tolerance"),
    [
        ("", "finite_difference", 1e-5),
        ("gradnorm:alpha=2", "double_backward", 1e-5),
        # The step is relative to a process's own images.
        ("gradnorm:alpha=2", "finite_difference", 1e-3),
    ],
)
def test_two_processes_are_one_with_twice_the_batch(tmp_path, penalty, engine, tolerance):
    launch(tmp_path, tmp_path / "one", 1, 16, penalty, engine)
    launch(tmp_path, tmp_path / "two", 2, 8, penalty, engine)
    one, two = (weights(tmp_path / name / "last.pt") for name in ("one", "two"))
    a, b = (torch.cat([v.flatten().float() for v in c["state_dict"].values()]) for c in (one, two))
    start = open_model(config(tmp_path), open_split(config(tmp_path), "train")).net.state_dict()
    learnt = (a - torch.cat([v.flatten().float() for v in start.values()])).norm()
    assert float((a - b).norm() / learnt) < tolerance
    for alone, together in zip(one["training"]["rows"], two["training"]["rows"], strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert together["val_top1"] == pytest.approx(alone["val_top1"], abs=1 / 32)


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


# --- what is said and shown of it


def test_memory_estimate_is_what_the_graph_and_the_optimiser_hold(tmp_path):
    given = config(tmp_path, opt="sgd", batch_size=32, ema=0.9)
    train_data = open_split(given, "train")
    model = open_model(given, train_data)
    batch = train_data.bind(model.card.preprocess).batch(range(32))
    held = {}

    def hold(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        logits = model.eval()(batch.image.requires_grad_())
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    expected = sum(size for storage, size in held.items() if storage not in weights)
    steady, images = step_bytes(given, model, batch)
    assert images == pytest.approx(expected, rel=0.02)
    # Weights, gradients, momentum and the moving average.
    everything = [*model.parameters(), *model.buffers()]
    assert steady == 4 * sum(t.numel() * t.element_size() for t in everything)
    assert step_bytes(dataclasses.replace(given, opt="adamw"), model, batch)[0] == steady * 5 // 4
    twice = dataclasses.replace(given, penalty="gradnorm", engine="double_backward")
    assert step_bytes(twice, model, batch)[1] == 2 * images
    del logits


def test_a_batch_that_will_not_fit_is_told_beforehand(tmp_path, monkeypatch):
    given = config(tmp_path, batch_size=64)
    train_data = open_split(given, "train")
    model = open_model(given, train_data)
    batch = train_data.bind(model.card.preprocess).batch(range(2))
    steady, images = step_bytes(given, model, batch)
    monkeypatch.setattr(_memory, "available_bytes", lambda device: steady + images // 2)
    assert "--batch-size 32 --accumulate 2" in memory(given, model, batch).advice
    monkeypatch.setattr(_memory, "available_bytes", lambda device: None)
    assert memory(given, model, batch).advice == ""
    assert "64 images" in memory(given, model, batch).line


def test_tensorboard_shows_the_history(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(config(tmp_path, tensorboard=tmp_path / "board"))
    seen = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(e.step, e.value) for e in seen.Scalars("loss")] == [
        (row["epoch"], pytest.approx(row["loss"])) for row in result.history
    ]


def test_tensorboard_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        train(config(tmp_path, tensorboard=tmp_path / "board"))


def test_time_to_a_robustness_is_that_of_the_first_epoch_that_has_it():
    scores = [math.nan, 0.2, 0.4, 0.3]
    history = [{"seconds": 2.0 + k, "val_pgd10": score, "val_top1": 0.9} for k, score in enumerate(scores)]
    result = TrainResult(Path("last.pt"), Path("best.pt"), history, {})
    assert result.seconds_to(0.2) == 5
    assert result.seconds_to(0.3) == 9
    assert result.seconds_to(0.5, of="val_top1") == 2
    assert math.isnan(result.seconds_to(0.5))
