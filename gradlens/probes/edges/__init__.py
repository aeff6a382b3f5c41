"""Image → edge map ``(B, 1, H, W)``: where a person would draw the contours. Knows no model."""

from torch import Tensor

from gradlens.core.registry import edge_map
from gradlens.core.types import UserError
from gradlens.probes.edges._canny import canny
from gradlens.probes.edges._contour_energy import contour_energy, sobel

__all__ = ["canny", "contour_energy", "edge_map_of", "sobel"]


def edge_map_of(images: Tensor, spec: str, **parameters: float) -> Tensor:
    """The map ``(B, 1, H, W)`` of a registered name; refused where it has another shape or no finite value."""
    found = edge_map.build(spec)(images, **parameters)
    wanted = (len(images), 1, *images.shape[2:])
    if not isinstance(found, Tensor) or found.shape != wanted:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(f"edge map '{spec}' returned {what}; wanted {wanted}")
    # Ours are finite; asking costs a wait for the device.
    if not edge_map.ours(spec) and not found.isfinite().any():
        raise UserError(f"edge map '{spec}' returned nothing finite; wanted numbers that are large on edges")
    return found
