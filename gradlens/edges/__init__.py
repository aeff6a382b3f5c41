"""Image → edge map ``(B, 1, H, W)``: where a person would draw the contours. Knows no model."""

from gradlens.edges._canny import canny
from gradlens.edges._contour_energy import contour_energy
from gradlens.edges._sobel import sobel

__all__ = ["canny", "contour_energy", "sobel"]
