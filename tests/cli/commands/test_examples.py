"""``examples`` keeps the same images of every model."""

import numpy as np
from commands import run


def test_examples_keep_the_same_images_for_a_gallery(place):
    assert run(place, "examples good.pt --data digits --images 3,17,9 -o kept") == 0
    with np.load(place / "kept" / "examples" / "loss.npz") as kept:
        assert kept["index"].tolist() == [3, 17, 9]
    assert run(place, "figure gradient_gallery kept -o gallery.pdf --labels mine") == 0
    assert (place / "gallery.pdf").read_bytes().startswith(b"%PDF")
