"""What edge maps are made of: luminance, Gaussian blur, Sobel's derivatives, and the distance to an edge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

Images = Float[Tensor, "b c h w"]
Maps = Float[Tensor, "b 1 h w"]
# ITU-R BT.709 weights as scikit-image's rgb2gray uses them.
LUMINANCE = (0.2125, 0.7154, 0.0721)


def luminance(images: Images) -> Maps:
    """Weighted sum of R, G and B in the images' own type; gray images pass.

    A fourth channel is taken for transparency and left out; of two, or of more than four, it is the mean.
    """
    channels = images.shape[1]
    if channels not in (3, 4):
        return images if channels == 1 else images.mean(1, keepdim=True)
    weight = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)
    return (images[:, :3] * weight.view(1, 3, 1, 1)).sum(1, keepdim=True)


def correlate(images: Images, half: Sequence[float], axis: int, border: str) -> Images:
    """Correlate with a symmetric kernel along ``axis`` (2 rows, 3 columns), given from its centre outwards.

    border: ``reflect`` (edge pixel not repeated), ``replicate`` or ``constant`` (zeros). Mirrored taps
    are added before they are weighted, farthest first: scipy's order, so the two agree to the last bit.
    """
    radius, size = len(half) - 1, images.shape[axis]
    padded = _padded(images, radius, axis, border)
    out = padded.narrow(axis, radius, size) * half[0]
    for k in range(radius, 0, -1):
        after, before = padded.narrow(axis, radius + k, size), padded.narrow(axis, radius - k, size)
        # In place, since on a CPU fresh memory costs more than the arithmetic.
        out += (after + before).mul_(half[k])
    return out


def gaussian_blur(images: Images, sigma: float) -> Images:
    """Gaussian of standard deviation sigma in pixels, over three of them, border pixels repeated."""
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(math.ceil(3 * sigma) + 1)]
    half = [w / (2 * sum(weights) - weights[0]) for w in weights]
    return correlate(correlate(images, half, 2, "replicate"), half, 3, "replicate")


def derivatives(images: Images, smooth: Sequence[float], border: str) -> tuple[Images, Images]:
    """Sobel derivatives (down the rows, along the columns), smoothed across by a half kernel."""
    down = correlate(_difference(images, 2, border), smooth, 3, border)
    along = correlate(_difference(images, 3, border), smooth, 2, border)
    return down, along


def _difference(images: Images, axis: int, border: str) -> Images:
    """The next pixel minus the one before."""
    size, padded = images.shape[axis], _padded(images, 1, axis, border)
    return padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)


def _padded(images: Images, radius: int, axis: int, border: str) -> Float[Tensor, "b c _ _"]:
    size = images.shape[axis]
    if border == "reflect" and radius >= size:
        # Mirrored as often as it takes, as scipy does; torch refuses to do it twice.
        place = torch.arange(-radius, size + radius, device=images.device) % max(1, 2 * (size - 1))
        return images.index_select(axis, torch.minimum(place, 2 * (size - 1) - place))
    return F.pad(images, (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius), mode=border)


def distance_to_edges(edges: Maps) -> Maps:
    """Taxicab distance of every pixel to the nearest edge pixel, ``(B, 1, H, W)`` float32, in pixels.

    Zero on the edges; ``H + W``, farther than any pixel can be, where an image has none.
    """
    if edges.device.type == "cpu":
        # Half the time of two running minima, and the same numbers.
        return torch.stack([_scipy_distance(image) for image in edges[:, 0]])[:, None]
    return _running_minima(edges)


def _scipy_distance(edges: Tensor) -> Tensor:
    if not edges.any():
        return torch.full(edges.shape, float(sum(edges.shape)))
    distance = distance_transform_cdt(edges.numpy() == 0, metric="taxicab")
    return torch.from_numpy(distance.astype(np.float32))


def _running_minima(edges: Maps) -> Maps:
    """Taxicab distance is the least of ``|Δy| + |Δx|``, so each axis takes a forward and a backward minimum."""
    farthest = float(edges.shape[2] + edges.shape[3])
    distance = torch.where(edges > 0, 0.0, farthest)
    for axis in (2, 3):
        place = torch.arange(edges.shape[axis], dtype=distance.dtype, device=edges.device)
        place = place.view(-1, 1) if axis == 2 else place
        before = (distance - place).cummin(axis).values + place
        behind = (distance + place).flip(axis).cummin(axis).values.flip(axis) - place
        distance = torch.minimum(before, behind)
    return distance.clamp(max=farthest)
