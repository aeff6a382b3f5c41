"""Tars are read in place, and nothing in a tar or a header is believed."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zlib

import pytest
from folders import classes, jpeg, put, tar_of
from PIL import Image
from refusals import refused

from gradlens import load_data
from gradlens.data import UnreadableError
from gradlens.data._pixels import open_image


def member(name, **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar_with(file, info, content=b""):
    with tarfile.open(file, "w") as tar:
        tar.addfile(member("cat/a.jpg", size=len(jpeg(0))), io.BytesIO(jpeg(0)))
        tar.addfile(info, io.BytesIO(content) if content else None)
    return file


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (member("../b.jpg"), ["'../b.jpg'", "leaves the folder"]),
        (member("cat/../../b.jpg"), ["leaves the folder"]),
        (member("/etc/b.jpg"), ["'/etc/b.jpg'", "leaves the folder"]),
        (member("cat\\..\\b.jpg"), ["leaves the folder"]),
        (member("cat/b.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), ["a link", "--dereference"]),
        (member("cat/b.jpg", type=tarfile.LNKTYPE, linkname="cat/a.jpg"), ["a link"]),
        (member("cat/b.jpg", type=tarfile.FIFOTYPE), ["not a plain file"]),
        (member("cat/b.jpg", type=tarfile.CHRTYPE), ["not a plain file"]),
    ],
    ids=["above", "above inside", "absolute", "backslash", "symlink", "hard link", "fifo", "device"],
)
def test_a_tar_that_reaches_out_is_refused(info, words, tmp_path):
    with refused("a.tar", *words):
        load_data(tar_with(tmp_path / "a.tar", info))


def test_a_tar_that_declares_more_than_it_holds_is_refused(tmp_path):
    header = member("cat/b.jpg", size=2**40).tobuf(tarfile.GNU_FORMAT)
    put(tmp_path / "a.tar", header + bytes(1024))
    with refused("cat/b.jpg", "1,099,511,627,776 bytes", "at most"):
        load_data(tmp_path / "a.tar")
    put(tmp_path / "c.tar", member("cat/b.txt", size=2**70).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with refused("c.tar", "cat/b.txt", "declares"):
        load_data(tmp_path / "c.tar")
    put(tmp_path / "b.tar", member("cat/b.jpg", size=5000).tobuf() + bytes(1024))
    with refused("b.tar", "cat/b.jpg", "truncated"):
        load_data(tmp_path / "b.tar")


def test_a_damaged_or_compressed_tar_is_refused(tmp_path):
    whole = classes_tar(tmp_path / "a.tar").read_bytes()
    put(tmp_path / "cut.tar", whole[:700])
    with refused("cut.tar", "truncated"):
        load_data(tmp_path / "cut.tar")
    second = whole.index(b"cat/1.jpg")
    put(tmp_path / "bad.tar", whole[:second] + b"\xff" * 512 + whole[second + 512 :])
    with refused("bad.tar", "damaged after 1 member"):
        load_data(tmp_path / "bad.tar")
    tar_of(tmp_path / "a.tar.gz", {"cat/a.jpg": jpeg(0)}, "w:gz")
    with refused("a.tar.gz", "in place", "decompress"):
        load_data(tmp_path / "a.tar.gz")
    with refused("empty.tar", "in place"):
        load_data(put(tmp_path / "empty.tar", b""))
    tar_with(tmp_path / "twice.tar", member("./cat/a.jpg", size=3), b"abc")
    with refused("twice.tar", "cat/a.jpg twice"):
        load_data(tmp_path / "twice.tar")


def classes_tar(file):
    return tar_of(file, {f"{name}/{i}.jpg": jpeg(i) for name in ("cat", "dog") for i in range(2)})


def test_a_tar_is_the_folder_that_was_put_in_it(tmp_path):
    classes(tmp_path / "a", "cat", "dog", count=2)
    classes_tar(tmp_path / "a.tar")
    one, two = load_data(tmp_path / "a"), load_data(tmp_path / "a.tar")
    assert one.fingerprint == two.fingerprint
    assert all(x[0].equal(y[0]) for x, y in zip(one, two, strict=True))


def test_a_picture_in_a_tar_that_cannot_be_read_is_named(tmp_path):
    tar_of(tmp_path / "a.tar", {"cat/a.jpg": jpeg(0), "cat/b.jpg": b"no picture"})
    batch, failures = load_data(tmp_path / "a.tar").read([0, 1])
    assert batch.index.tolist() == [0]
    assert "a.tar: cat/b.jpg: cannot identify" in failures[1]
    assert "BytesIO" not in failures[1]


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
