"""The order of the images follows from the seed, and augmentation is each image's own."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from trainings import assert_same_state, config, set_up, train, weights

from gradlens.training._batches import WholeBatch, each_image


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own(tmp_path):
    _, batches = set_up(config(tmp_path))
    epochs = [[i for k in range(4) for i in batches[4 * e + k][1].index.tolist()] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(batches.data.indices.tolist())
    assert epochs[0] != epochs[1]
    _, again = set_up(config(tmp_path))
    assert [i for k in range(4) for i in again[k][1].index.tolist()] == epochs[0]
    _, other = set_up(config(tmp_path, seed=1))
    assert other[0][1].index.tolist() != epochs[0][:16]


def test_shift_and_flip_are_each_images_own(tmp_path, digits):
    given = config(tmp_path, shift=2, flip=0.5)
    whole = each_image(given, digits, 0)
    alone = [each_image(given, digits[slice(i, i + 1)], 0).image for i in range(len(digits))]
    assert torch.equal(whole.image, torch.cat(alone))
    padded = F.pad(digits.image, (2, 2, 2, 2), mode="replicate")
    candidates = [
        (flipped[:, :, d : d + 32, a : a + 32], d, a, f)
        for f, flipped in enumerate((padded, padded.flip(3)))
        for d in range(5)
        for a in range(5)
    ]
    chosen = set()
    for i in range(len(digits)):
        matches = [c[1:] for c in candidates if torch.equal(c[0][i], whole.image[i])]
        assert matches
        chosen.update(matches)
    assert len(chosen) > 25
    assert not torch.equal(each_image(given, digits, 1).image, whole.image)


def test_timms_augmentation_stays_in_range_and_repeats(tmp_path):
    picture = {"crop_scale": 0.3, "rand_augment": "rand-m9-mstd0.5", "color_jitter": 0.4, "data": "photos"}
    mixed = {"mixup": 0.8, "cutmix": 1.0, "random_erasing": 1.0, "label_smoothing": 0.1}
    given = config(tmp_path, **picture, **mixed)
    model, batches = set_up(given)
    _, first, _ = batches[0]
    assert torch.equal(first.image, batches[0][1].image)
    whole = WholeBatch(given, 8, model.mean, model.std)
    torch.manual_seed(0)
    np.random.seed(0)
    batch = whole(first)
    for image in (first.image, batch.image):
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
    assert batch.target.shape == (16, 8)
    torch.testing.assert_close(batch.target.sum(1), torch.ones(16))


def test_workers_decode_the_same_images(tmp_path):
    given = {"rand_augment": "rand-m9-mstd0.5", "crop_scale": 0.5, "epochs": 1, "limit": 32, "eval_eps": 0}
    results = [train(config(tmp_path, out=tmp_path / str(n), workers=n, **given)) for n in (0, 2)]
    assert_same_state(*(weights(result.checkpoint) for result in results))
