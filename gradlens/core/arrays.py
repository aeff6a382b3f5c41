"""Archives of arrays that unpack to more than a machine holds are refused before they are unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gradlens.core.types import UserError

MOST = 2**30


def check_unpacked(file: Path) -> None:
    """Of an .npz; raises UserError where its members declare more than a gigabyte together."""
    with zipfile.ZipFile(file) as archive:
        declared = sum(member.file_size for member in archive.infolist())
    if declared > MOST:
        held = f"{file} ({file.stat().st_size:,} bytes) unpacks to {declared:,}"
        raise UserError(f"{held}; at most {MOST:,} are read: it is damaged, or made to exhaust memory")
