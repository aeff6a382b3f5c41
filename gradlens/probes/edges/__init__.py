"""Image → edge map ``(B, 1, H, W)``: where a person would draw the contours. Knows no model."""

from gradlens.probes.edges._canny import canny
from gradlens.probes.edges._contour_energy import contour_energy
from gradlens.probes.edges._sobel import sobel

__all__ = ["canny", "contour_energy", "sobel"]
