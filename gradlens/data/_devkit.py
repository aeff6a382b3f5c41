"""ImageNet's devkit numbers the classes in an order of its own, which only its ``meta.mat`` tells."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from gradlens.core.types import UserError
from gradlens.data._tar import LIMIT, archive_member

DEVKIT = "ILSVRC2012_devkit_t12"
# The type of a compressed element in a MAT file.
COMPRESSED = 15
TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def devkit_file(places: Sequence[Path], name: str) -> bytes | None:
    """A file of the devkit: loose, in the unpacked devkit, or in its archive; None where there is none."""
    for place in places:
        for folder in (place, place / "data", place / DEVKIT / "data"):
            file = folder / name
            if file.is_file() and file.stat().st_size <= LIMIT:
                return file.read_bytes()
        archive = place / f"{DEVKIT}.tar.gz"
        if archive.is_file():
            return archive_member(archive, f"{DEVKIT}/data/{name}")
    return None


def ilsvrc_order(places: Sequence[Path], wanted_by: object) -> dict[int, str]:
    """ILSVRC id → wnid."""
    from scipy.io import loadmat

    content = devkit_file(places, "meta.mat")
    if content is None:
        raise UserError(
            f"{wanted_by} holds ILSVRC ids, which are not indices of the sorted synsets; put the devkit's meta.mat "
            f"or {DEVKIT}.tar.gz beside it, or give --labels a file of names and classes such as val.txt"
        )
    try:
        _check_whole(content)
        synsets = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
        return {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets}
    except Exception as error:
        # scipy's reader raises whatever the bytes lead it to.
        raise UserError(f"cannot read the devkit's meta.mat: {type(error).__name__}; copy it again") from None


def _check_whole(content: bytes) -> None:
    """A compressed MAT file ends in a checksum, which scipy would see only after it trusted what lies before."""
    kind, size = struct.unpack_from("<II", content, 128)
    if kind == COMPRESSED:
        inflate = zlib.decompressobj()
        inflate.decompress(content[136 : 136 + size], LIMIT)
        if not inflate.eof:
            raise ValueError("truncated")
