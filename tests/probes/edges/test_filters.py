"""Distances to edges are scipy's."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt

from gradlens.probes.edges.filters import _running_minima, distance_to_edges


def test_distance_is_scipys_and_the_running_minima_agree(shapes):
    edges = shapes.image[:32, :1] > 0.8
    edges[3] = False
    edges[4] = False
    edges[4, 0, 5, 60] = True
    found = distance_to_edges(edges.float())
    torch.testing.assert_close(found, _running_minima(edges.float()), rtol=0, atol=0)
    assert (found[3] == 128).all()
    row, column = np.mgrid[:64, :64]
    np.testing.assert_array_equal(found[4, 0], abs(row - 5) + abs(column - 60))
    expected = distance_transform_cdt(~edges[0, 0].numpy(), metric="taxicab")
    np.testing.assert_array_equal(found[0, 0], expected)
