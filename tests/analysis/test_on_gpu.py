"""A run on a GPU is the CPU's up to rounding."""

import copy

import numpy as np
import pandas as pd
import pytest
from on_gpu import HALF, needs_gpu, on_gpu

import gradlens as gl
from gradlens.models._zoo import digits_cnn

pytestmark = needs_gpu


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_is_the_cpus(tmp_path, precision):
    """All of the standard set; one ReLU or Canny pixel within rounding of its threshold may turn."""
    net, data = digits_cnn(num_classes=8, width=8).eval(), gl.load_data("photos", limit=64)
    cpu = gl.analyze(gl.load_model(copy.deepcopy(net), mean=HALF, std=HALF, device="cpu"), data, batch_size=32)
    found = gl.analyze(on_gpu(net), data, batch_size=32, precision=precision).samples
    both = [c for c in cpu.samples if pd.api.types.is_float_dtype(cpu.samples[c]) and "_p" not in c]
    tolerance = 2e-3 if precision == "float32" else 0.1
    for column in both if precision == "float32" else ["loss", "l1", "l2"]:
        a, b = cpu.samples[column].to_numpy(), found[column].to_numpy()
        assert np.nanmax(abs(a - b)) <= tolerance * max(1, np.nanmax(abs(a))), column
