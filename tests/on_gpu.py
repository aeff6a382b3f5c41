"""The GPU that tests marked ``gpu`` run on: ``pytest -m gpu``; they are skipped where there is none."""

import pytest
import torch

import gradlens as gl

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
GPU, HALF = torch.device("cuda", 0), (0.5, 0.5, 0.5)


def on_gpu(net):
    return gl.load_model(net, mean=HALF, std=HALF, device=str(GPU))
