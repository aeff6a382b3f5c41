from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from gradlens.core.types import UserError
from gradlens.data._store import is_picture


class Names:
    """Finds an image by what a list calls it: a path from any folder above, a file name, or its stem."""

    def __init__(self, paths: Sequence[str]):
        self.paths = paths
        self.exact = {path: i for i, path in enumerate(paths)}
        self.stems: dict[str, list[int]] = defaultdict(list)
        for i, path in enumerate(paths):
            self.stems[PurePosixPath(path).stem].append(i)

    def find(self, text: str, file: object) -> int | None:
        """Its index, None if there is no such image; refused where several fit."""
        wanted = PurePosixPath(text)
        if wanted.as_posix() in self.exact:
            return self.exact[wanted.as_posix()]
        stem = wanted.stem if is_picture(wanted.name) else wanted.name
        found = [i for i in self.stems.get(stem, []) if _fits(wanted, PurePosixPath(self.paths[i]))]
        found = [i for i in found if PurePosixPath(self.paths[i]).name == wanted.name] or found
        if len(found) > 1:
            raise UserError(
                f"'{text}' in {file} fits {len(found)} images, {self.paths[found[0]]} and {self.paths[found[1]]}; "
                "name images by their path below the data's root"
            )
        return found[0] if found else None


def _fits(wanted: PurePosixPath, path: PurePosixPath) -> bool:
    """Whether the folders of the shorter end the folders of the longer."""
    one, two = wanted.parts[:-1], path.parts[:-1]
    return all(a == b for a, b in zip(reversed(one), reversed(two), strict=False))
