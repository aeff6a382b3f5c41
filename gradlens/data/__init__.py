"""A data spec → a sequence of (image in [0, 1], label, index). Knows no model, only a Preprocess."""

from gradlens.data._data import Data
from gradlens.data._load import load_data
from gradlens.data._pixels import UnreadableError, open_image, to_rgb, to_tensor

__all__ = ["Data", "UnreadableError", "load_data", "open_image", "to_rgb", "to_tensor"]
