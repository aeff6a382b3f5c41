"""Training on a GPU learns, goes on, and needs the memory that was foretold."""

import dataclasses
import math

import pytest
import torch
from on_gpu import GPU, needs_gpu

import gradlens as gl
from gradlens.training._memory import step_bytes
from gradlens.training._setup import open_model, open_split

pytestmark = needs_gpu


COMMON = {
    **{"data": "digits", "limit": 256, "epochs": 4, "batch_size": 32, "lr": 4e-3, "eval_images": 64},
    **{"arch": "digits_cnn:width=8", "device": "cuda"},
}


@pytest.mark.parametrize(
    "given",
    [
        {"penalty": "edge:alpha=1,step=.3", "ema": 0.9, "shift": 2, "random_erasing": 0.5},
        {"penalty": "gradnorm:eps=.05", "engine": "double_backward", "precision": "bfloat16"},
        {"method": "pgd:steps=2", "precision": "bfloat16", "mixup": 0.4},
        {"method": "trades:steps=2", "accumulate": 2},
    ],
    ids=["penalised", "penalised-bf16", "attacked-bf16", "trades"],
)
def test_training_learns_and_its_checkpoint_opens_anywhere(tmp_path, given):
    result = gl.train(gl.TrainConfig(**{**COMMON, **given}, out=tmp_path / "run"), progress=False)
    assert result.history[-1]["val_top1"] > 0.3
    assert all(math.isfinite(row["loss"]) for row in result.history)
    batch = gl.load_data("digits", limit=64).batch(gl.load_data("digits", limit=64).indices)
    here, there = (gl.load_model(result.checkpoint, device=device) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there(batch.image.to(GPU)).cpu(), here(batch.image), rtol=1e-3, atol=1e-3)


def test_resumed_training_goes_on(tmp_path, monkeypatch):
    """Not bit for bit, which some of cuDNN's sums are not; as near as two uninterrupted runs are."""
    from gradlens.training.train import Training

    given = gl.TrainConfig(**COMMON, penalty="edge:alpha=1", ema=0.9, out=tmp_path / "run")
    whole = gl.train(dataclasses.replace(given, out=tmp_path / "whole"), progress=False)
    finish, ends = Training.finish_epoch, []

    def stopping(self):
        ends.append(1)
        if len(ends) == 3:
            raise SystemExit("killed")
        finish(self)

    monkeypatch.setattr(Training, "finish_epoch", stopping)
    with pytest.raises(SystemExit):
        gl.train(given, progress=False)
    resumed = gl.train(given, resume=True, progress=False)
    assert resumed.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=0.05)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("given", [{}, {"penalty": "gradnorm:eps=.05"}], ids=["plain", "finite difference"])
def test_memory_of_a_step_is_foretold(tmp_path, given):
    """Within a factor of two: the estimate leaves the hardware's workspaces and what lives for a moment out."""
    config = gl.TrainConfig(
        **{**COMMON, "arch": "preactresnet18", "limit": None, "batch_size": 256, "epochs": 1}, **given, out=tmp_path
    )
    data = open_split(config, "train")
    model = open_model(config, data)
    batch = data.bind(model.card.preprocess).batch(range(8)).to(GPU)
    foretold = sum(step_bytes(config, model, batch))
    del model
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    gl.train(dataclasses.replace(config, eval_eps=0, eval_images=8), progress=False)
    assert 0.5 < torch.cuda.max_memory_allocated() / foretold < 2
