"""Every edge map is one channel, finds the contours of shapes, and belongs to its image alone."""

import numpy as np
import pytest
import torch

from gradlens.core.registry import edge_map
from gradlens.data import load_data
from gradlens.stats.separation import auc

EDGE_MAPS = list(edge_map)
TURNS = {"rows": lambda x: x.flip(2), "columns": lambda x: x.flip(3), "transpose": lambda x: x.transpose(2, 3)}
each_edge_map = pytest.mark.parametrize("name", EDGE_MAPS)


@each_edge_map
def test_edge_map_is_one_non_negative_channel(name):
    image = torch.rand(3, 3, 24, 40)
    maps = edge_map[name](image)
    assert maps.shape == (3, 1, 24, 40)
    assert maps.dtype == image.dtype
    assert maps.min() >= 0
    assert maps.max() > 0


@each_edge_map
def test_image_without_contrast_has_no_edges(name):
    flat = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(2, 3, 24, 40)
    assert edge_map[name](flat.contiguous()).max() == 0


@each_edge_map
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_edges_move_with_the_image(name, turn, shapes):
    image = shapes.image[:24, :, :, :56].double()
    turned = edge_map[name](turn(image).contiguous())
    torch.testing.assert_close(turned, turn(edge_map[name](image)), rtol=0, atol=1e-12)


@each_edge_map
def test_each_image_has_its_edges_to_itself(name, shapes):
    image = shapes.image[:8]
    alone = torch.cat([edge_map[name](i[None]) for i in image])
    torch.testing.assert_close(edge_map[name](image), alone, rtol=0, atol=0)


@each_edge_map
def test_edge_map_leaves_its_input(name, shapes):
    image = shapes.image[:4].clone()
    edge_map[name](image)
    assert torch.equal(image, shapes.image[:4])


@each_edge_map
def test_true_contours_are_found(name, shapes):
    contours = [load_data("shapes").source.contour(i) for i in shapes.index.tolist()]
    maps = edge_map[name](shapes.image).numpy()
    scores = [auc(m.ravel(), c.ravel()) for m, c in zip(maps, contours, strict=True)]
    assert np.mean(scores) > 0.65
