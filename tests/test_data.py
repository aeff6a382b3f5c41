"""Pictures become pixels in [0, 1] with a label and an index that stay theirs; bad files are named."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from gradlens import Preprocess, load_data
from gradlens.data import UnreadableError, to_tensor
from gradlens.data._embedded import BANDS, PHOTOGRAPHS, SIDE, crop, photograph
from gradlens.data._pixels import image_transform, open_image
from gradlens.data._sample import stratified_order

SPLITS = ("train", "val", "test")
SIZES = {"digits": (1000, 297, 500), "shapes": (2400, 600, 600), "photos": (1600, 400, 400)}


def picture(seed=0, size=(20, 16)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def folder_of(root, **classes):
    """A folder with so many random pictures a class, ``train__cat`` for nested ones."""
    for k, (name, count) in enumerate(classes.items()):
        place = root / name.replace("__", "/")
        place.mkdir(parents=True)
        for i in range(count):
            picture(100 * k + i).save(place / f"{i:02d}.png")
    return root


@pytest.mark.parametrize("name", SIZES)
def test_embedded_splits_have_their_sizes_and_every_class(name):
    sets = [load_data(name, split=split) for split in SPLITS]
    assert tuple(len(d) for d in sets) == SIZES[name]
    for data in sets:
        assert sorted(set(data.labels.tolist())) == list(range(len(data.class_names)))
        assert len({data.path(i) for i in data.indices}) == len(data)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("split", SPLITS)
def test_embedded_images_are_deterministic_colour_pixels_in_range(name, split):
    one, two = (load_data(name, split=split).batch([0, 7, 100]) for _ in range(2))
    assert torch.equal(one.image, two.image)
    side = 32 if name == "digits" else 64
    assert one.image.shape == (3, 3, side, side)
    assert one.image.dtype == torch.float32
    assert float(one.image.min()) >= 0
    assert 0.3 < float(one.image.max()) <= 1
    assert not torch.equal(one.image[0], one.image[1])


def test_no_digit_is_in_two_splits():
    rows = [{path.split("/")[1] for path in load_data("digits", split=s).source.paths} for s in SPLITS]
    assert [len(r) for r in rows] == list(SIZES["digits"])
    assert len(set.union(*rows)) == 1797


def test_a_digit_is_the_one_that_scikit_learn_holds():
    from sklearn.datasets import load_digits

    data = load_data("digits")
    bunch = load_digits()
    for index in range(5):
        row = int(data.path(index).split("/")[1])
        assert data.labels[index] == bunch.target[row]
        blocks = data[index][0][0].reshape(8, 4, 8, 4).mean((1, 3)).numpy().ravel()
        assert np.abs(16 * blocks - bunch.data).mean(1).argmin() == row


def test_photographs_are_cut_into_bands_without_a_common_column():
    edges = sorted(BANDS[s] for s in SPLITS)
    assert edges == [(0.0, 0.6), (0.6, 0.8), (0.8, 1.0)]
    for name in PHOTOGRAPHS:
        assert photograph(name).shape[1] * 0.2 >= SIDE


@pytest.mark.parametrize("split", SPLITS)
def test_crops_stay_inside_the_columns_of_their_split(split, monkeypatch):
    from gradlens.data import _embedded

    width = 400
    columns = np.broadcast_to(np.arange(width)[None, :, None], (70, width, 3))
    monkeypatch.setattr(_embedded, "photograph", lambda name: columns)
    seen = np.concatenate([crop("cat", split, np.random.default_rng(i))[0, :, 0] for i in range(200)])
    low, high = (edge * width for edge in BANDS[split])
    assert low <= seen.min() < low + 5
    assert high - 5 <= seen.max() + 1 <= high


def test_the_contour_of_a_shape_surrounds_a_filled_region_of_the_image():
    from scipy.ndimage import binary_fill_holes

    source = load_data("shapes").source
    for index in range(6):
        contour = source.contour(index)
        assert 30 < contour.sum() < binary_fill_holes(contour).sum() < SIDE * SIDE / 2


def test_a_folder_of_class_folders_is_labelled_in_sorted_order(tmp_path):
    data = load_data(folder_of(tmp_path, dog=2, cat=1, bird__young=2))
    assert data.class_names == ("bird", "cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 2, 2]
    assert [data.path(i) for i in range(5)] == [
        *("bird/young/00.png", "bird/young/01.png"),
        *("cat/00.png", "dog/00.png", "dog/01.png"),
    ]
    torch.testing.assert_close(data[2][0], torch.from_numpy(np.array(picture(100))).permute(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("held", "asked"), [("val", "val"), ("validation", "val"), ("train", "train"), ("test", "test")]
)
def test_a_split_is_its_sub_folder_where_there_is_one(tmp_path, held, asked):
    folder_of(tmp_path, **{f"{held}__cat": 2, f"{held}__dog": 1, "other__cat": 5})
    data = load_data(tmp_path, split=asked)
    assert data.class_names == ("cat", "dog")
    assert len(data) == 3


def test_a_folder_without_split_folders_is_the_split_asked_for(tmp_path):
    folder_of(tmp_path, cat=1, dog=2)
    assert len(load_data(tmp_path, split="train")) == len(load_data(tmp_path, split="val")) == 3


def test_a_split_that_a_folder_of_splits_lacks_is_refused(tmp_path):
    folder_of(tmp_path, train__cat=1, val__cat=1)
    with refused("train and val", "'test'"):
        load_data(tmp_path, split="test")


def test_a_flat_folder_is_unlabelled(tmp_path):
    folder_of(tmp_path, flat=3)
    data = load_data(tmp_path / "flat")
    assert data.labels.tolist() == [-1, -1, -1]
    assert (data.labelled, data.class_names) == (False, ())
    assert data.batch([0]).target is None


def test_a_relative_folder_is_looked_for_below_its_root(tmp_path):
    folder_of(tmp_path, set__cat=2)
    assert len(load_data("set", root=tmp_path)) == 2


def test_hidden_files_and_folders_are_left_out(tmp_path):
    folder_of(tmp_path, cat=2, dog=1, **{".cache": 1})
    (tmp_path / "cat" / "._00.png").write_bytes(b"resource fork")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    assert load_data(tmp_path).labels.tolist() == [0, 0, 1]


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    with refused(str(tmp_path), "no image", ".png"):
        load_data(tmp_path)
    folder_of(tmp_path, cat=1, dog=0)
    with refused("'dog'", "shift the classes"):
        load_data(tmp_path)
    with refused("unknown data", "nowhere", "folder"):
        load_data(tmp_path / "nowhere")
    with refused("00.png is a file", "folder"):
        load_data(tmp_path / "cat" / "00.png")


def test_an_unknown_embedded_set_or_split_offers_the_nearest():
    with refused("'digit'", "digits"):
        load_data("digit")
    with refused("split of digits", "'vall'", "val"):
        load_data("digits", split="vall")


def saved(folder, image, name="a.png", **options):
    image.save(folder / name, **options)
    return np.asarray(open_image(folder / name))


def test_gray_is_read_as_three_equal_channels(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = saved(tmp_path, Image.fromarray(gray))
    assert np.array_equal(read, np.repeat(gray[..., None], 3, 2))


def test_sixteen_bit_gray_is_scaled_to_eight(tmp_path):
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16)
    read = saved(tmp_path, Image.fromarray(gray * 257))
    assert np.array_equal(read[..., 0], gray)


def test_cmyk_is_read_as_the_colour_it_prints(tmp_path):
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[0] = [255, 0, 0, 0]
    inks[1] = [0, 255, 0, 0]
    inks[2] = [0, 0, 0, 255]
    read = saved(tmp_path, Image.fromarray(inks, mode="CMYK"), "a.tif")
    assert read[:, 0].tolist() == [[0, 255, 255], [255, 0, 255], [0, 0, 0], [255, 255, 255]]


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    expected = [[[10, 20, 30], [200, 100, 50]], [[7, 8, 9], [200, 100, 50]]]
    assert saved(tmp_path, image).tolist() == expected
    expected[0][0] = [255, 255, 255]
    assert saved(tmp_path, image, transparency=0).tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_put_on_white(tmp_path, mode):
    colour = {"RGBA": (200, 100, 0), "LA": (100,)}[mode]
    image = Image.new(mode, (3, 1))
    for x, alpha in enumerate((255, 0, 51)):
        image.putpixel((x, 0), (*colour, alpha))
    read = saved(tmp_path, image)[0]
    full = np.array(colour if mode == "RGBA" else colour * 3)
    assert read[0].tolist() == full.tolist()
    assert read[1].tolist() == [255, 255, 255]
    assert np.abs(read[2] - (0.2 * full + 0.8 * 255)).max() <= 1


def test_a_floating_point_picture_is_scaled_from_one(tmp_path):
    read = saved(tmp_path, Image.fromarray(np.array([[0, 0.2, 1]], np.float32)), "a.tif")
    assert read[0, :, 0].tolist() == [0, 51, 255]


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_a_rotated_jpeg_is_read_upright(tmp_path, orientation, turn):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = [200, 30, 30]
    upright[:8, 16:] = [30, 30, 200]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, -turn)))
    read = saved(tmp_path, stored, "a.jpg", exif=exif, quality=100, subsampling=0)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() < 12


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"])
def test_a_truncated_picture_is_unreadable_in_every_format(tmp_path, suffix):
    picture(size=(64, 64)).save(tmp_path / f"a{suffix}")
    whole = (tmp_path / f"a{suffix}").read_bytes()
    for length in (len(whole) // 2, 30, 0):
        (tmp_path / f"a{suffix}").write_bytes(whole[:length])
        with pytest.raises(UnreadableError, match=f"a{suffix}: .") as caught:
            open_image(tmp_path / f"a{suffix}")
        assert "\n" not in str(caught.value)


def test_unreadable_images_are_left_out_of_a_batch_and_reported(tmp_path):
    folder_of(tmp_path, cat=4)
    (tmp_path / "cat" / "01.png").write_bytes(b"not a picture")
    data = load_data(tmp_path)
    batch, failures = data.read([0, 1, 3])
    assert batch.index.tolist() == [0, 3]
    assert list(failures) == [1]
    assert "01.png: cannot identify" in failures[1]
    assert data.read([1])[0] is None
    with refused("cannot read", "01.png"):
        data.batch([0, 1])


def test_an_error_that_says_nothing_is_reported_by_its_type(tmp_path, monkeypatch):
    def fail(path):
        raise OSError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UnreadableError, match=r"a\.png: OSError"):
        open_image(tmp_path / "a.png")


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [30_000, 2_000_000_000])
def test_a_header_that_declares_enormous_dimensions_is_unreadable_before_anything_is_allocated(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(b"\0" * 100)), png_chunk(b"IEND", b"")]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=r"bomb\.png"):
            open_image(tmp_path / "bomb.png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_timms_evaluation_transform_without_its_normalisation(crop_mode, interpolation):
    from timm.data import create_transform

    how = Preprocess(size=24, crop_pct=0.8, interpolation=interpolation, crop_mode=crop_mode)
    options = {"interpolation": interpolation, "crop_pct": 0.8, "crop_mode": crop_mode}
    image = picture(size=(60, 40))
    theirs = create_transform((3, 24, 24), mean=(0, 0, 0), std=(1, 1, 1), **options)(image)
    ours = image_transform(how)(image)
    assert ours.shape == (3, 24, 24)
    assert torch.equal(ours, theirs)


def test_a_preprocess_is_identified_by_all_it_does():
    hashes = {Preprocess(*p).hash for p in [(), (225,), (224, 0.9), (224, 0.875, "bilinear")]}
    assert len(hashes) == 4
    assert Preprocess().hash == Preprocess(224, 0.875, "bicubic", "center").hash


def test_pictures_of_several_sizes_need_a_preprocess(tmp_path):
    folder_of(tmp_path, cat=1)
    picture(size=(9, 9)).save(tmp_path / "cat" / "z.png")
    with refused("16×20", "9×9", "Preprocess"):
        load_data(tmp_path).batch([0, 1])
    assert load_data(tmp_path).bind(Preprocess(size=8)).batch([0, 1]).image.shape == (2, 3, 8, 8)


def random_classes(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 40, rng.integers(1, 12)) ** rng.integers(1, 3)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return [f"{seed}/{i}" for i in range(len(labels))], labels


@pytest.mark.parametrize("seed", range(20))
def test_every_prefix_of_a_sample_takes_the_same_share_of_each_class(seed):
    paths, labels = random_classes(seed)
    order = stratified_order(paths, labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    counts, sizes = np.eye(labels.max() + 1)[labels[order]].cumsum(0), np.bincount(labels)
    # One share t of every class fits each prefix when counts are rounded from t · size.
    least, most = ((counts - 0.5) / sizes).max(1), ((counts + 0.5) / sizes).min(1)
    assert (least <= most + 1e-12).all()


def test_classes_of_equal_size_differ_by_at_most_one_image():
    labels = np.tile(np.arange(7), 11)
    order = stratified_order([str(i) for i in range(77)], labels)
    counts = np.eye(7)[labels[order]].cumsum(0)
    assert (counts.max(1) - counts.min(1)).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_within_a_class_depends_on_no_other_image(seed):
    paths, labels = random_classes(seed)
    order = stratified_order(paths, labels)
    shuffle = np.random.default_rng(seed).permutation(len(labels))
    again = shuffle[stratified_order([paths[i] for i in shuffle], labels[shuffle])]
    assert order.tolist() == again.tolist()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        alone = members[stratified_order([paths[i] for i in members], labels[members])]
        assert order[labels[order] == label].tolist() == alone.tolist()


def test_limits_are_nested_and_keep_the_sources_indices():
    data = load_data("digits")
    samples = [set(data.limit(n).indices.tolist()) for n in (5, 30, 100, 297, 1000)]
    assert [len(s) for s in samples] == [5, 30, 100, 297, 297]
    assert all(a <= b for a, b in itertools.pairwise(samples))
    limited = load_data("digits", limit=30)
    assert set(limited.indices.tolist()) == samples[1]
    image, label, index = limited[7]
    assert index == limited.indices[7]
    assert torch.equal(image, data[index][0])
    assert label == data.labels[index]
    assert data.limit(30, seed=1).indices.tolist() != limited.indices.tolist()


def test_a_limit_of_none_or_nothing():
    data = load_data("digits")
    assert data.limit(None) is data
    with refused("at least 1"):
        data.limit(0)


def test_a_batch_is_looked_up_by_index_in_the_order_asked_for():
    data = load_data("digits")
    batch = data.subset([40, 3, 9]).batch([9, 100])
    assert batch.index.tolist() == [9, 100]
    assert batch.target.tolist() == data.labels[[9, 100]].tolist()
    assert torch.equal(batch.image[1], data[100][0])
    assert data.subset([40, 3, 9]).labels.tolist() == data.labels[[40, 3, 9]].tolist()


@pytest.mark.parametrize("indices", [[0, 297], [-1]])
def test_an_index_that_is_not_there_is_refused(indices):
    with refused(f"no image {indices[-1]} in digits/val", "0 to 296"):
        load_data("digits").batch(indices)
    with refused(f"no image {indices[-1]} in digits/val"):
        load_data("digits").subset(indices)


def test_a_subset_cannot_hold_an_image_twice():
    with refused("twice"):
        load_data("digits").subset([4, 5, 4])


def test_a_sequence_ends():
    data = load_data("digits", limit=4)
    assert len(list(data)) == 4
    assert data[-1][2] == data[3][2]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            data[outside]


def test_fingerprints_tell_samples_and_splits_apart():
    sets = [load_data("digits"), load_data("digits", split="test"), load_data("digits", limit=20), load_data("photos")]
    assert len({d.fingerprint for d in sets}) == 4
    assert load_data("digits").fingerprint == sets[0].fingerprint
    assert sets[0].bind(Preprocess()).fingerprint == sets[0].fingerprint


def test_fingerprints_tell_arrays_in_memory_apart_by_their_pixels():
    images = torch.rand(3, 3, 8, 8)
    other = images.clone()
    other[2, 1, 4, 4] = 0.5
    prints = [load_data((i, [0, 1, 2])).fingerprint for i in (images, images.clone(), other)]
    assert prints[0] == prints[1] != prints[2]


def test_arrays_in_memory_are_taken_as_they_are():
    images = np.random.default_rng(0).random((4, 3, 8, 8))
    data = load_data((images, [2, 0, 1, 0]))
    assert data.batch([1, 0]).target.tolist() == [0, 2]
    torch.testing.assert_close(data[3][0], torch.from_numpy(images[3]).float())
    assert data.class_names == ("0", "1", "2")
    assert load_data((images, None)).labels.tolist() == [-1] * 4


def test_eight_bit_arrays_have_their_channels_last_and_are_scaled():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    data = load_data((pixels, [0, 1]))
    assert data[1][0].shape == (3, 5, 6)
    torch.testing.assert_close(data[1][0], torch.from_numpy(pixels[1]).permute(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.rand(2, 3, 8, 8) * 2 - 0.5, [0, 1], ["[0, 1]", "do not normalise"]),
        (torch.full((2, 3, 8, 8), torch.nan), [0, 1], ["nan", "[0, 1]"]),
        (torch.randint(2, 256, (2, 3, 8, 8), dtype=torch.uint8), [0, 1], ["divide 8-bit pixels by 255"]),
        (np.full((2, 3, 8, 8), 9, np.uint8), [0, 1], ["(2, 3, 8, 8)", "channels last"]),
        (np.full((5, 28, 28), 9, np.uint8), [0] * 5, ["(5, 28, 28)", "(B, H, W, 3)"]),
        (torch.rand(2, 5, 8, 8), [0, 1], ["(2, 5, 8, 8)", "channels first"]),
        (torch.rand(2, 3, 8, 8), [0], ["2 images", "(1,)"]),
        (np.zeros((0, 3, 8, 8)), [], ["empty"]),
        ([], [], ["empty"]),
    ],
    ids=["normalised", "nan", "bytes", "bytes first", "gray bytes", "channels", "labels", "no images", "empty list"],
)
def test_arrays_that_are_not_images_are_refused(images, labels, words):
    with refused(*words):
        load_data((images, labels))


def test_a_path_a_picture_and_an_array_are_the_same_pixels(tmp_path):
    picture().save(tmp_path / "a.png")
    tensors = [to_tensor(x) for x in (tmp_path / "a.png", str(tmp_path / "a.png"), picture(), np.array(picture()))]
    assert all(torch.equal(t, tensors[0]) for t in tensors)
    assert to_tensor([picture(0), picture(1)]).shape == (2, 3, 16, 20)
    with refused("no image", "b.png"):
        to_tensor(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no")
    with refused("cannot read", "c.png"):
        to_tensor(tmp_path / "c.png")
