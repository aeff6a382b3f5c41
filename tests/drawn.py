"""What a figure or a page shows: titles, pixels, thumbnails."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image


def titles(drawn: Figure) -> list[str]:
    return [ax.get_title() for ax in drawn.axes if ax.get_title()]


def shown(ax: Axes) -> np.ndarray:
    return np.asarray(ax.images[0].get_array(), np.float64)


def picture_in(page: str) -> np.ndarray:
    """The page's sheet of thumbnails, in [0, 1]."""
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)"', page)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float64) / 255
