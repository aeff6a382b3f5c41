"""Pictures inside tars, read in place: the members are found once and read by their offset.

Nothing is unpacked, so no member can be written anywhere; names that would leave the folder and links
are refused all the same, since such a tar is broken or hostile.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast

from PIL import Image

from gradlens.core.types import UserError
from gradlens.data._pixels import open_image
from gradlens.data._store import SPLIT_NAMES, in_order, is_picture, visible

# Of one member: far above any picture, far below what a declared size could make us read.
LIMIT = 2**28
# Of all that is inflated on the way to one member of a compressed archive.
INFLATED = 2**30


class Member(NamedTuple):
    file: Path
    start: int
    size: int


class TarStore:
    """The pictures of one tar, of several (each a folder of its name), or of a tar of tars."""

    def __init__(self, where: Path, files: Sequence[Path]):
        self.where = where
        self.members: dict[str, Member] = {}
        alone = len(files) == 1 and files[0] == where
        for file in files:
            self._add(file, "" if alone else f"{file.stem}/")
        if alone:
            self._strip(where.stem)
        self.names = in_order([name for name in self.members if is_picture(name)])
        self.folders = sorted({name.partition("/")[0] for name in self.names if "/" in name})

    def open(self, name: str) -> Image.Image:
        return open_image(io.BytesIO(self.read(name)), f"{self.members[name].file}: {name}")

    def read(self, name: str) -> bytes:
        file, start, size = self.members[name]
        with file.open("rb") as stream:
            stream.seek(start)
            return stream.read(size)

    def _add(self, file: Path, prefix: str) -> None:
        try:
            with file.open("rb") as stream:
                self._index(stream, file, prefix, 0, file.stat().st_size)
        except UserError:
            raise
        except (tarfile.TarError, ValueError, OverflowError) as error:
            # The last two come from sizes that no file can have.
            raise UserError(
                f"cannot read {file} in place: {str(error).splitlines()[0]}; wanted a whole, uncompressed tar: "
                "decompress it, or unpack it into a folder"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}; make it readable") from None

    def _index(self, stream: BinaryIO, file: Path, prefix: str, start: int, end: int) -> None:
        """Remember where each member lies; a tar inside is a folder of its name."""
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                _check(member, file, LIMIT if is_picture(member.name) else end)
                begin = start + member.offset_data
                if begin + member.size > end:
                    raise UserError(f"{file} ends inside {member.name}: it is truncated; copy it again")
                name = prefix + PurePosixPath(member.name).as_posix()
                if name.endswith(".tar") and not start and visible(PurePosixPath(name).name):
                    inner = cast(BinaryIO, tar.extractfile(member))
                    self._index(inner, file, f"{name.removesuffix('.tar')}/", begin, begin + member.size)
                else:
                    self._remember(name, Member(file, begin, member.size))
            # tarfile takes a damaged header for the end; a real end is zeros, or nothing.
            stream.seek(tar.offset)
            if any(stream.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged after {len(self.members):,} members")

    def _remember(self, name: str, member: Member) -> None:
        if name in self.members and is_picture(name):
            raise UserError(f"{member.file} holds {name} twice; make the tar again")
        self.members[name] = member

    def _strip(self, stem: str) -> None:
        """Leave out a folder that only wraps the others: ``val/n01440764/…`` is ``n01440764/…``."""
        pictures = [name.split("/") for name in self.members if is_picture(name)]
        tops = {parts[0] for parts in pictures}
        known = {stem, *(name for names in SPLIT_NAMES.values() for name in names)}
        if len(tops) == 1 and all(len(p) > 2 or (len(p) == 2 and p[0] in known) for p in pictures):
            top = f"{tops.pop()}/"
            self.members = {n.removeprefix(top): m for n, m in self.members.items() if n.startswith(top)}
            self._strip(stem)


def _check(member: tarfile.TarInfo, file: Path, limit: int) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise UserError(f"{file} holds '{member.name}', which leaves the folder; make the tar with relative names")
    if not member.isreg() or member.issparse():
        what = "a link" if member.issym() or member.islnk() else "not a plain file"
        raise UserError(f"'{member.name}' in {file} is {what}; make the tar of plain files (tar --dereference)")
    if not 0 <= member.size <= limit:
        raise UserError(
            f"'{member.name}' in {file} declares {member.size:,} bytes; at most {limit:,} are read: "
            "it is no picture, or the tar is damaged"
        )


def archive_member(archive: Path, name: str) -> bytes:
    """One file out of a compressed archive, in memory; sizes are bounded before anything is inflated."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in _bounded(tar, archive):
                if PurePosixPath(member.name).as_posix() == name:
                    _check(member, archive, LIMIT)
                    return cast(BinaryIO, tar.extractfile(member)).read(LIMIT)
    except UserError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {archive}: {why}; copy it again, or unpack it beside") from None
    raise UserError(f"{archive} holds no {name}; copy it again, or unpack it beside")


def _bounded(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    total = 0
    for member in tar:
        total += member.size
        if total > INFLATED:
            raise UserError(f"{archive} inflates to more than {INFLATED:,} bytes; it is damaged, or another archive")
        yield member
