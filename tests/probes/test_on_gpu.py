"""On a GPU edges and input gradients are the CPU's, whatever the caller's TF32."""

import copy

import numpy as np
import pytest
import skimage.data
import timm
import torch
import torch.nn.functional as F
from gradients import relative_error
from on_gpu import GPU, needs_gpu, on_gpu
from skimage import color, feature

import gradlens as gl
from gradlens.core.registry import edge_map

pytestmark = needs_gpu


@pytest.fixture
def tf32():
    """Switched on by the caller, as many training codes do; a measurement is not to use it, and to leave it on."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "immunohistochemistry"])
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_canny_is_scikit_images_on_every_pixel(name, sigma):
    picture = getattr(skimage.data, name)() / 255
    image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    found = gl.edges.canny(image.to(GPU), sigma=sigma)
    assert found.device == GPU
    np.testing.assert_array_equal(found[0, 0].cpu() > 0, feature.canny(color.rgb2gray(picture), sigma, 0.1, 0.2))


@pytest.mark.parametrize("name", list(edge_map))
def test_edge_maps_are_the_cpus(name, photos):
    there = edge_map.build(name)(photos.image.to(GPU))
    torch.testing.assert_close(there.cpu(), edge_map.build(name)(photos.image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", ["resnet18", "vit_tiny_patch16_224"])
@pytest.mark.usefixtures("tf32")
def test_input_gradients_are_the_exact_ones_whatever_the_callers_tf32(arch, photos):
    size = {"img_size": 64} if "vit" in arch else {}
    net = timm.create_model(arch, num_classes=8, **size).eval()
    gl.swap_activations(net, "gelu")
    exact, image = copy.deepcopy(net).double(), photos.image.double().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(exact(2 * image - 1), photos.target, reduction="sum"), image)
    found = gl.input_gradient(on_gpu(net), photos.image, photos.target)
    assert relative_error(found.cpu(), expected).max() < 2e-5
