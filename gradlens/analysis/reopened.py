"""From a run's row back to the pixels, and from pixels to a row: the run's model and data, opened again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analysis.class_names import as_model_counts
from gradlens.analysis.provenance import weights_hash
from gradlens.analysis.rows import fitted, rows_of
from gradlens.analyzers import Analyzer, choose_analyzers
from gradlens.analyzers.gallery import kept_gradients
from gradlens.core.files import readable
from gradlens.core.names import Name
from gradlens.core.types import Preprocess, UserError
from gradlens.data import Data, load_data
from gradlens.models import Classifier, load_model
from gradlens.probes.probe import Probe
from gradlens.runs.record import Run
from gradlens.stats.clusters import CLUSTER

PIECE = 16
INLINE = "inline"
# Options of data that may be files or folders; the spec may be a name that is also a folder's.
DATA_FILES = ("root", "labels", "subset", "class_map")


def probe_of(run: Run, indices: Sequence[int]) -> Probe:
    """A probe of some images of the run, with the same model, pixels and seed."""
    model, data = _model_of(run), _data_of(run)
    batch = data.batch(indices)
    _check_paths(run, data, indices)
    return Probe(model, batch.to(model.device), seed=run.provenance["seed"], needs=("units",))


def examples_of(run: Run, indices: Sequence[int]) -> dict[str, NDArray]:
    """Images and gradients as a run keeps them, of images that it did not keep."""
    pieces = []
    for start in range(0, len(indices), PIECE):
        with probe_of(run, indices[start : start + PIECE]) as look:
            pieces.append(kept_gradients(look))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def measured_as(run: Run, probe: Probe) -> pd.DataFrame:
    """A probe's images as rows of the run: its analyzers, which saw its pilot images; kept for the next time."""
    data = _data_of(run)
    settled = run.cache.get("analyzers")
    if settled is None or settled[0] is not data:
        settled = run.cache["analyzers"] = (data, _fitted_as(run, probe, data))
    rows = rows_of(probe, settled[1], data.valid_classes)
    return rows.reindex(columns=[column for column in run.samples if column not in ("path", CLUSTER)])


def opened(run: Run) -> tuple[Classifier, Data]:
    """The run's model and the images that were measured; raises UserError for others."""
    model, data = _model_of(run), _data_of(run)
    if data.fingerprint != run.provenance["data_fingerprint"]:
        raise UserError(
            f"{data.name} holds other images than the {run.provenance['images']:,} that were measured; set run.data to "
            "those, or bring them back"
        )
    return model, data


def _fitted_as(run: Run, probe: Probe, data: Data) -> list[Analyzer]:
    if data.fingerprint != run.provenance["data_fingerprint"]:
        raise UserError(
            f"the pilot images of {data.name} cannot be told, since these are not the {run.provenance['images']:,} "
            "images that were measured; set run.data to those"
        )
    named = [Name.parse(name).spec for name in run.provenance["analyzers"] if name != INLINE]
    return fitted(choose_analyzers(named), probe, data, run.provenance["batch_size"])


def _model_of(run: Run) -> Classifier:
    run.model = run.model or _model(run.provenance)
    return run.model


def _data_of(run: Run) -> Data:
    if run.data is None:
        run.data = _data(run)
    elif run.data.preprocess is None:
        run.data = run.data.bind(_preprocess(run.provenance), len(run.provenance["mean"]))
    return run.data


def _model(provenance: dict[str, Any]) -> Classifier:
    options = provenance.get("load_model")
    if options is None:
        raise UserError("this run's model was given as an object; set run.model to it, then probe again")
    # A run's file may come from somebody else: it cannot vouch for a pickle.
    model = load_model(**{**_found_again(options, provenance, "spec"), "trust_pickle": False})
    if weights_hash(model) != provenance["weights"]:
        raise UserError(f"{options['spec']} holds other weights than those measured; set run.model to the right ones")
    return model


def _data(run: Run) -> Data:
    """The images that were measured; all of the source where the run does not tell which."""
    provenance = run.provenance
    options = provenance.get("load_data")
    if options is None:
        raise UserError("this run's data were given as an object; set run.data to them, then probe again")
    found = load_data(**_found_again(options, provenance, *DATA_FILES))
    counted, _ = as_model_counts(found, _model_of(run))
    whole = counted.bind(_preprocess(provenance), len(provenance["mean"]))
    measured = whole.limit(provenance["images"])
    return measured if measured.fingerprint == provenance["data_fingerprint"] else whole


def _found_again(options: Mapping[str, Any], provenance: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The options, whose files are looked for first where the run was made, from whatever folder it is opened."""
    there = Path(provenance.get("working_folder", ""))
    paths = {name: there / options[name] for name in names if options.get(name)}
    return {**options, **{name: str(path) for name, path in paths.items() if path.exists()}}


def _preprocess(provenance: dict[str, Any]) -> Preprocess | None:
    how = provenance["preprocess"]
    return Preprocess(**how) if how else None


def _check_paths(run: Run, data: Data, indices: Sequence[int]) -> None:
    """An index that means another image than it did would be looked at without a murmur."""
    then = run.samples.set_index("index")["path"] if "path" in run.samples else {}
    for index in indices:
        if index in then and then[index] != readable(data.path(index)):
            raise UserError(
                f"image {index} of {data.name} is now {readable(data.path(index))}, and was {then[index]}: the data "
                "changed; set run.data to those that were measured"
            )
