"""Examples are the run's own images with their gradients."""

import numpy as np
from measured import measure

from gradlens import load_data


def test_examples_are_the_images_and_their_gradients(baseline):
    kept = baseline.examples
    assert kept["index"].tolist() == load_data("digits").limit(60).limit(16).indices.tolist()
    probe = baseline.probe(int(kept["index"][3]))
    gradient = kept["gradient"][3].astype(np.float64) * kept["scale"][3]
    found = probe.gradient("loss")[0].numpy()
    np.testing.assert_allclose(gradient, found, atol=1e-3 * np.abs(found).max())
    np.testing.assert_allclose(kept["image"][3], probe.batch.image[0], atol=1e-3)
    assert measure(examples=0).examples == {}
