"""A checkpoint or a name → ``Classifier``: pixels in [0, 1] to logits. Knows no data."""

from gradlens.models._checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._controls import controls, random_twin
from gradlens.models._describe import describe
from gradlens.models._handed import channels_of
from gradlens.models._load import load_model
from gradlens.models._swapping import swap_activations
from gradlens.models.fresh import is_control

__all__ = [
    "Checkpoint",
    "Classifier",
    "ModelCard",
    "channels_of",
    "controls",
    "describe",
    "is_control",
    "load_model",
    "random_twin",
    "read_checkpoint",
    "save_checkpoint",
    "swap_activations",
]
