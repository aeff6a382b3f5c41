"""Shorter types than float32 are off while a model is measured, and come back."""

import pytest
import torch

from gradlens.core.surroundings import full_float32


@pytest.fixture
def _precision_restored():
    """torch's switches are global and cannot all be restored through the older ones."""
    backends = torch.backends
    gpu = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn
    owners = backends, *gpu, backends.mkldnn.matmul, backends.mkldnn.conv
    before = [o.fp32_precision for o in owners]
    yield
    torch.set_float32_matmul_precision("highest")
    for owner, value in zip(owners, before, strict=True):
        owner.fp32_precision = value


needs_switches = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9")


def switches():
    backends = torch.backends
    owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [o.fp32_precision for o in owners]


@needs_switches
@pytest.mark.usefixtures("_precision_restored")
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_shorter_matrix_products_are_off_and_come_back(precision):
    torch.set_float32_matmul_precision(precision)
    before = switches()
    with full_float32():
        assert not {"tf32", "bf16"} & set(switches())
    assert switches() == before
    assert torch.get_float32_matmul_precision() == precision


@needs_switches
@pytest.mark.usefixtures("_precision_restored")
def test_newer_precision_switches_are_obeyed_too():
    torch.backends.fp32_precision = "tf32"
    with full_float32():
        assert set(switches()) == {"ieee"}
    assert set(switches()) == {"tf32"}
