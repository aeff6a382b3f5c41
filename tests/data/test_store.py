"""A tar is read in place as the folder that was put in it, and nothing in it is believed."""

from __future__ import annotations

import io
import tarfile

import pytest
from folders import classes, jpeg, put, tar_of
from refusals import refused

from gradlens import load_data


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
        (member("cat/b.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), ["is a link", "--dereference"]),
        (member("cat/b.jpg", type=tarfile.LNKTYPE, linkname="cat/a.jpg"), ["is a link"]),
        (member("cat/b.jpg", type=tarfile.FIFOTYPE), ["is not a plain file"]),
        (member("cat/b.jpg", type=tarfile.CHRTYPE), ["is not a plain file"]),
    ],
    ids=["above", "above inside", "absolute", "backslash", "symlink", "hard link", "fifo", "device"],
)
def test_a_tar_that_reaches_out_is_refused(info, words, tmp_path):
    with refused("a.tar", *words):
        load_data(tar_with(tmp_path / "a.tar", info))


def test_a_tar_that_declares_more_than_it_holds_is_refused(tmp_path):
    header = member("cat/b.jpg", size=2**40).tobuf(tarfile.GNU_FORMAT)
    put(tmp_path / "a.tar", header + bytes(1024))
    with refused("a.tar", "cat/b.jpg", "truncated"):
        load_data(tmp_path / "a.tar")
    put(tmp_path / "c.tar", member("cat/b.txt", size=2**70).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with refused("c.tar", "cat/b.txt", "truncated"):
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


def test_a_tar_of_tars_is_to_be_unpacked(tmp_path):
    tar_of(tmp_path / "train.tar", {"n01440764.tar": classes_tar(tmp_path / "n01440764.tar").read_bytes()})
    with refused("no image", "train.tar", "unpack"):
        load_data(tmp_path / "train.tar")
