"""Which images count as one sample together: what the user says, else what the data know, else none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data import Data
from gradlens.stats.clusters import CLUSTER

Clusters = str | Path | Sequence | NDArray | None
EACH = "path"


def clusters_of(data: Data, given: Clusters = None) -> pd.Series | None:
    """The cluster of each image by its index, None where every image is a sample of its own.

    given: ``path``, every image is; ``label``, those of one class are one; ``FILE.csv:COLUMN``, a table whose first
    column names the images and whose COLUMN, else ``cluster``, names the cluster of each; or a value an image, in
    the data's order. Raises UserError for a file or a list that does not say it of every image.
    """
    if given is None:
        found = data.clusters
    elif isinstance(given, str | Path):
        found = _named(data, str(given))
    else:
        found = np.asarray(given)
        if found.shape != (len(data),):
            raise UserError(f"clusters have shape {found.shape}; give one for each of the {len(data):,} images")
    return None if found is None else pd.Series(np.asarray(found).astype(str), data.indices, name=CLUSTER)


def _named(data: Data, given: str) -> NDArray | None:
    if given in (EACH, "label"):
        return data.labels if given == "label" else None
    whole = Path(given)
    name, _, column = (given, "", "") if whole.exists() else given.rpartition(":") if ":" in given else (given, "", "")
    return _in_table(data, Path(name), column or CLUSTER)


def _in_table(data: Data, file: Path, column: str) -> NDArray:
    try:
        table = pd.read_csv(file, dtype=str)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {file} ({str(error).splitlines()[0]}); for clusters give path, label, or a CSV file with a "
            "header and the images' paths in its first column"
        ) from None
    if column not in table:
        raise UserError(unknown(f"column of {file}", column, table.columns, f"Write {file}:COLUMN"))
    own = [data.path(i) for i in data.indices]
    found = table.set_index(table.columns[0])[column]
    if twice := found.index[found.index.duplicated()].tolist():
        raise UserError(f"{file} names {twice[0]} twice; keep one line for each image")
    known = found.reindex(own)
    if known.isna().any():
        lacks = known.index[known.isna()]
        raise UserError(
            f"{file} says no {column} of {len(lacks):,} of {len(own):,} images, such as {lacks[0]}; name each image by "
            "its path below the data's root"
        )
    return known.to_numpy()
