"""Free memory is the GPU's, and a batch that does not fit into it is halved."""

import timm
import torch
from on_gpu import GPU, needs_gpu, on_gpu

import gradlens as gl
from gradlens.core.memory import available_bytes, within_memory
from gradlens.core.types import Batch

pytestmark = needs_gpu


def test_a_batch_that_does_not_fit_is_halved(photos):
    model = on_gpu(timm.create_model("resnet18", num_classes=8))
    many = Batch(photos.image.repeat(64, 1, 1, 1).to(GPU), photos.target.repeat(64).to(GPU), torch.arange(1024))
    whole = gl.probe(model, many.image, many.target).gradient().cpu()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((before + 1.2e9) / total)
    try:
        take = lambda piece: gl.probe(model, piece.image, piece.target).gradient().cpu()  # noqa: E731
        pieces, size = within_memory(take, many, len(many))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= size < len(many)
    assert free > 1.2e9
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-3, atol=1e-6)


def test_free_memory_is_the_gpus():
    free, total = torch.cuda.mem_get_info()
    assert 0 < available_bytes(GPU) <= total
    assert available_bytes(GPU) >= free
