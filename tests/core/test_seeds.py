"""Random numbers belong to an image, a seed and a purpose, and whoever measures gives theirs back."""

import random

import numpy as np
import pytest
import torch

from gradlens.core.seeds import image_seed, image_uniform, own_random_numbers, set_random_numbers


def drawn():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_an_images_numbers_do_not_depend_on_the_others():
    index = torch.tensor([7, 3, 500])
    whole = image_uniform(0, index, "attack", (2, 4))
    assert whole.shape == (3, 2, 4)
    assert whole.dtype == torch.float64
    assert torch.equal(image_uniform(0, index[[2, 0]], "attack", (2, 4)), whole[[2, 0]])


@pytest.mark.parametrize("other", [(1, 7, "attack"), (0, 8, "attack"), (0, 7, "augment")])
def test_seed_image_and_purpose_each_make_other_numbers(other):
    assert image_seed(*other) != image_seed(0, 7, "attack")


def test_seeds_are_63_bits_and_the_same_on_every_machine():
    # A run may be resumed elsewhere, so these may never change.
    assert image_seed(0, 7, "attack") == 6642729165104694357
    assert all(0 <= image_seed(0, i, "attack") < 2**63 for i in range(100))


def test_numbers_are_uniform():
    values = image_uniform(0, torch.arange(20_000), "any").numpy()
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / 20_000, 0.1, atol=0.01)


def test_a_seed_sets_every_generator():
    set_random_numbers(5)
    first = drawn()
    set_random_numbers(5)
    assert drawn() == first
    set_random_numbers(2**40)
    assert drawn() != first


def test_the_callers_numbers_go_on_as_if_nothing_had_been_drawn():
    set_random_numbers(1)
    expected = drawn()
    set_random_numbers(1)

    @own_random_numbers()
    def drawing_and_failing():
        set_random_numbers(9)
        return 1 / drawn()[0] + 1 / 0

    with pytest.raises(ZeroDivisionError):
        drawing_and_failing()
    assert drawn() == expected
