"""When two runs are the same."""

import json

import numpy as np
import pandas as pd


def assert_same(a, b):
    """Two runs agree bit by bit in every number."""
    pd.testing.assert_frame_equal(a.samples, b.samples, check_exact=True)
    assert json.dumps(a.summary, default=float) == json.dumps(b.summary, default=float)
    for found, wanted in ((a.arrays, b.arrays), (a.examples, b.examples)):
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, name)
