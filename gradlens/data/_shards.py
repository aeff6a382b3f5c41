"""WebDataset shards: tars of ``KEY.jpg`` beside ``KEY.cls``, read in place.

timm reads them as a stream; here an image has a number, so they are indexed instead.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradlens.core.types import UserError
from gradlens.data import _synsets
from gradlens.data._pictures import Pictures
from gradlens.data._store import SPLIT_NAMES
from gradlens.data._tar import TarStore
from gradlens.data._text import is_number


def shards(spec: str, split: str, root: Path | None) -> Pictures:
    """``wds/FOLDER``, or ``wds/name-{00..63}.tar`` with timm's ``|COUNT``, below the root."""
    pattern, _, wanted = spec.partition("/")[2].partition("|")
    if "://" in pattern or pattern.startswith("pipe:"):
        raise UserError(f"{spec} is read over the network; shards must be local files: give --data-dir their folder")
    files = _files(root or Path(), pattern, split)
    store = TarStore(files[0].parent, files)
    labels = np.array([_label(store, name) for name in store.names], dtype=np.int64)
    if not store.names or (wanted and wanted != str(len(store.names))):
        raise UserError(
            f"the {len(files)} shards of {spec} hold {len(store.names):,} pictures; wanted {wanted or 'some'}"
        )
    names = tuple(str(c) for c in range(int(labels.max()) + 1))
    if len(names) == len(_synsets.wnids()):
        names = _synsets.class_names()
    return Pictures(f"wds/{pattern}", store, store.names, labels, names, store.names)


def _files(root: Path, pattern: str, split: str) -> list[Path]:
    if (root / pattern).is_dir():
        files = sorted((root / pattern).glob("*.tar"))
        known = SPLIT_NAMES.get(split, (split,))
        files = [f for f in files if any(name in f.name for name in known)] or files
    else:
        files = [root / name for name in _braces(pattern)]
    missing = [f for f in files if not f.is_file()]
    if missing or not files:
        named = missing[0] if missing else root / pattern
        raise UserError(f"found no shard {named}; give --data-dir the folder above, and wds/NAME-{{00..63}}.tar")
    return files


def _braces(pattern: str) -> list[str]:
    """``a-{08..11}.tar`` → a-08.tar … a-11.tar."""
    before, opening, rest = pattern.partition("{")
    span, closing, after = rest.partition("}")
    first, dots, last = span.partition("..")
    if not opening:
        return [pattern]
    if not (closing and dots and is_number(first) and is_number(last)) or int(last) - int(first) > 100_000:
        raise UserError(f"cannot read the braces of '{pattern}'; write them as {{00..63}}")
    return [f"{before}{i:0{len(first)}d}{after}" for i in range(int(first), int(last) + 1)]


def _label(store: TarStore, name: str) -> int:
    beside = f"{name.rpartition('.')[0]}.cls"
    member = store.members.get(beside)
    text = store.read(beside).decode("ascii", "replace").strip() if member and member.size < 100 else ""
    if not is_number(text):
        raise UserError(f"{name} has no class beside it in its shard; wanted {beside} with an index")
    return int(text)
