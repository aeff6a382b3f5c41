"""``analyze`` measures what fits together, refuses what does not, and leaves the caller's model as it was."""

import shutil
import signal

import numpy as np
import pytest
import torch
from measured import Counting, in_folder, measure
from refusals import refused
from torch import nn

from gradlens import load_model
from gradlens.analyzers import STANDARD
from gradlens.analyzers._class_selectivity import ClassSelectivity
from gradlens.models._zoo import digits_cnn


def test_half_precision_is_opt_in_recorded_and_close(baseline):
    run = measure(precision="bfloat16")
    assert run.provenance["precision"] == "bfloat16"
    np.testing.assert_allclose(run.samples["l1"], baseline.samples["l1"], rtol=0.1)
    assert not np.allclose(run.samples["l1"], baseline.samples["l1"], rtol=1e-5)
    with refused("'float16'", "bfloat16", "underflows"):
        measure(precision="float16")


class Convolutional(nn.Module):
    """Five classes, told by no Linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("net", [lambda: digits_cnn(5), Convolutional])
def test_labels_outside_the_models_classes_are_refused(net):
    with refused("digits/val", "labels up to 9", "5 classes"):
        measure(load_model(net(), normalized=True))


def test_a_linear_layer_that_is_not_the_head_does_not_decide_the_number_of_classes():
    net = digits_cnn()
    net.add_module("unused", nn.Identity())
    net[-1].add_module("projection", nn.Linear(3, 2))
    assert len(measure(load_model(net, normalized=True)).samples) == 60


def test_an_unlabelled_folder_is_measured_at_its_predictions(digits_folder, tmp_path):
    for file in digits_folder.glob("[0-3]/*.png"):
        shutil.copy(file, tmp_path)
    run = measure(data=in_folder(tmp_path), analyzers="standard")
    assert set(run.samples["label"]) == {-1}
    assert "correct" not in run.samples
    assert run.summary["top1"] is None
    np.testing.assert_allclose(run.samples["confidence"], 1 - run.samples["error_mass"], rtol=1e-9)
    assert (run.samples["l1"] > 0).all()
    assert "l1_mean_correct" not in run.summary


def test_an_unknown_objective_is_refused():
    with refused("'true_logits'", "true_logit"):
        measure(objective="true_logits")


def test_an_analyzer_instance_serves_two_models():
    ours = ClassSelectivity()
    small = load_model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Convolutional10()), normalized=True)
    first, second = measure(analyzers=[ours]), measure(small, analyzers=[ours])
    assert [n for n in first.arrays if ":" not in n] == [f"class_selectivity/{k}" for k in (2, 5, 8)]
    assert [n for n in second.arrays if ":" not in n] == ["class_selectivity/1"]


class Convolutional10(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 10, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def settings(model):
    return {
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad is None for p in model.parameters()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "state": {k: v.tolist() for k, v in model.state_dict().items()},
        "random numbers": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "signals": [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)],
    }


class Uncopyable(nn.Module):
    """Nobody can copy it, so it is measured itself."""

    def __init__(self):
        super().__init__()
        self.net = digits_cnn()

    def __deepcopy__(self, memo):
        raise TypeError("cannot copy a handle")

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("net", [digits_cnn, Uncopyable])
@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_state_is_left_as_it_was(net, fails):
    model = load_model(net(), normalized=True).train()
    next(model.parameters()).requires_grad_(False)
    before = settings(model)
    last = (lambda p: 1 / 0) if fails else Counting()
    try:
        measure(model, analyzers=[*STANDARD, last])
    except ZeroDivisionError:
        assert fails
    assert settings(model) == before


def test_several_processes_need_a_common_folder(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused("several processes", "output"):
        measure()
