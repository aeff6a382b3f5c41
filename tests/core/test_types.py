"""A batch keeps its images' labels and indices beside them, and pixels are floats in [0, 1]."""

import pytest
import torch
from refusals import refused

from gradlens.core.types import Batch, check_images, digest


def test_a_part_of_a_batch_keeps_labels_and_indices(digits):
    part = digits[slice(3, 9)]
    assert len(part) == 6
    assert torch.equal(part.image, digits.image[3:9])
    assert (part.target.tolist(), part.index.tolist()) == (digits.target[3:9].tolist(), digits.index[3:9].tolist())
    assert Batch(digits.image, None, digits.index)[slice(0, 2)].target is None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 8, 8), ["(3, 8, 8)", "(B, 3, H, W)"]),
        (torch.rand(2, 8, 8, 3), ["(2, 8, 8, 3)", "channels first"]),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ["uint8", "divide 8-bit pixels by 255"]),
        (torch.randn(2, 3, 8, 8), ["[0, 1]", "do not normalise"]),
        (torch.full((2, 3, 8, 8), torch.nan), ["nan", "[0, 1]"]),
    ],
)
def test_what_are_no_images_is_refused(image, words):
    with refused(*words):
        check_images(image)


def test_a_digest_is_of_the_values_and_not_of_their_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert len(digest(None)) == 16
