"""A data spec → a sequence of (image in [0, 1], label, index). Knows no model, only a Preprocess."""

from gradlens.data._classes import imagenet_names
from gradlens.data._data import Data
from gradlens.data._load import load_data
from gradlens.data._pixels import UnreadableError, open_image, to_tensor, upright

__all__ = ["Data", "UnreadableError", "imagenet_names", "load_data", "open_image", "to_tensor", "upright"]
