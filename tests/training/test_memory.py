"""What a step will need of the memory is foretold, and a batch that will not fit is said beforehand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from trainings import config

from gradlens.training import _memory
from gradlens.training._memory import memory, step_bytes
from gradlens.training._setup import open_model, open_split


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
