"""Whatever a picture is stored as, it becomes upright RGB pixels in [0, 1]; what cannot is named."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from folders import picture, put
from PIL import Image
from refusals import refused

from gradlens import Preprocess, load_data
from gradlens.data import UnreadableError, to_tensor
from gradlens.data._pixels import image_transform, open_image


def saved(folder, image, name="a.png", **options):
    image.save(folder / name, **options)
    return np.asarray(open_image(folder / name))


def test_gray_is_read_as_three_equal_channels(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = saved(tmp_path, Image.fromarray(gray))
    assert np.array_equal(read, np.repeat(gray[..., None], 3, 2))


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


def test_an_error_that_says_nothing_is_reported_by_its_type(tmp_path, monkeypatch):
    def fail(path):
        raise OSError

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UnreadableError, match=r"a\.png: OSError"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("size", [24, (20, 28)])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_timms_evaluation_transform_without_its_normalisation(crop_mode, interpolation, size):
    from timm.data import create_transform

    how = Preprocess(size=size, crop_pct=0.8, interpolation=interpolation, crop_mode=crop_mode)
    options = {"interpolation": interpolation, "crop_pct": 0.8, "crop_mode": crop_mode}
    image = picture(size=(60, 40))
    theirs = create_transform((3, *how.sides), mean=(0, 0, 0), std=(1, 1, 1), **options)(image)
    ours = image_transform(how)(image)
    assert ours.shape == (3, *how.sides)
    assert torch.equal(ours, theirs)


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


def test_a_declared_size_is_refused_though_pillows_limit_was_lifted(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    body = b"IHDR" + struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    file = put(tmp_path / "bomb.png", b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 99) + b"IDAT" + bytes(99))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=r"bomb\.png: its header declares 1,048,576"):
            open_image(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_program_that_calls_itself_a_picture_is_not_run(tmp_path):
    file = put(tmp_path / "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n%%EOF\n")
    with pytest.raises(UnreadableError, match="PostScript program"):
        open_image(file)


def test_sixteen_bit_gray_is_scaled_to_eight(tmp_path):
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16)
    read = saved(tmp_path, Image.fromarray(gray * 257))
    assert np.array_equal(read[..., 0], gray)


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
        (torch.rand(2, 8, 8, 3), [0, 1], ["(2, 8, 8, 3)", "channels first"]),
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


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(300, 200), (31, 97)])
def test_a_pictures_scaled_size_is_what_timms_transform_makes(size, crop_mode):
    """At most, since timm rounds down."""
    from gradlens.data._pixels import scaled_size

    how = Preprocess(64, crop_pct=0.8, crop_mode=crop_mode)
    width, height = image_transform(how).transforms[2].transforms[0](Image.new("RGB", size)).size
    most = scaled_size(size, how)
    assert width <= most[0] + 1
    assert height <= most[1] + 1


def test_a_picture_that_scaling_would_make_huge_is_refused():
    with pytest.raises(UnreadableError, match="scaled to"):
        image_transform(Preprocess(224))(Image.new("RGB", (100_000, 1)))
