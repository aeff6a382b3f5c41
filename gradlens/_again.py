"""From a run's row back to the pixels: the model and the data it was made from, opened again."""

from __future__ import annotations

from typing import Any

from gradlens._probe import Probe
from gradlens._provenance import weights_hash
from gradlens._results import Run
from gradlens._types import Preprocess, UserError
from gradlens.data import Data, load_data
from gradlens.models import Classifier, load_model


def probe_of(run: Run, index: int) -> Probe:
    """A probe of one image of the run, with the same model, pixels and seed."""
    run.model = run.model or _model(run.provenance)
    run.data = run.data or _data(run.provenance)
    batch = run.data.batch([index])
    needs = ("units",)
    return Probe(run.model, batch.to(run.model.device), seed=run.provenance["seed"], needs=needs)


def _model(provenance: dict[str, Any]) -> Classifier:
    options = provenance.get("load_model")
    if options is None:
        raise UserError("this run's model was given as an object; set run.model to it, then probe again")
    # A run's file may come from somebody else: it cannot vouch for a pickle.
    model = load_model(**{**options, "trust_pickle": False})
    if weights_hash(model) != provenance["weights"]:
        raise UserError(f"{options['spec']} holds other weights than those measured; set run.model to the right ones")
    return model


def _data(provenance: dict[str, Any]) -> Data:
    options = provenance.get("load_data")
    if options is None:
        raise UserError("this run's data were given as an object; set run.data to them, then probe again")
    how = provenance["preprocess"]
    return load_data(**options).bind(Preprocess(**how) if how else None)
