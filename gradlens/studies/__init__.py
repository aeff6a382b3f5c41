"""What is not one pass over one model: a study of some models and data gives a table. One study a file.

A study is a dataclass of parameters under ``@study``, which derives from ``Study``.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from gradlens.analysis.preprocessing import bound
from gradlens.analysis.provenance import software, weights_hash
from gradlens.core.names import first_twice
from gradlens.core.progress import track
from gradlens.core.registry import study as registry
from gradlens.core.stated import inferred
from gradlens.core.surroundings import undisturbed
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.data import Data, load_data
from gradlens.data.batches import Batches
from gradlens.models import Classifier, load_model
from gradlens.probes.probe import Probe

__all__ = ["Study", "looks", "other_split", "seen", "study"]

BATCH = 64


class Study:
    """A dataclass of parameters that is called with models and data."""

    # The registered figure of its table, drawn by the command line.
    figure: ClassVar[str] = ""

    def __call__(self, models: Sequence[Classifier], data: Data) -> Table:
        raise UserError(f"study '{type(self).__name__}' defines no __call__(models, data) -> Table; write one")


@undisturbed()
def study(name: str, models: Sequence[Any] = (), data: Any = None, **parameters: Any) -> Table:
    """The table of a registered study, ``name`` or ``name:parameter=value``, of models and data.

    models, data: as in ``load_model`` and ``load_data``, or opened already. The table's ``provenance`` says
    what it was made of. Raises UserError for an unknown study or parameter, for two models of one name, and
    where a study returns no Table.
    """
    method = registry.build(name, **parameters)
    opened = [model if isinstance(model, Classifier) else load_model(model) for model in models]
    if twice := first_twice(model.card.name for model in opened):
        raise UserError(f"two models are called '{twice}'; rename one, since a table tells models by their names")
    images = data if data is None or isinstance(data, Data) else load_data(data)
    found = method(opened, images)
    if not isinstance(found, Table):
        raise UserError(f"study '{name}' returned a {type(found).__name__}; wanted a gradlens Table")
    return dataclasses.replace(found, provenance={**_made_of(name, method, opened, images), **found.provenance})


def _made_of(name: str, method: Any, models: Sequence[Classifier], data: Data | None) -> dict[str, Any]:
    """What a table needs to be made again."""
    parameters = vars(method) if dataclasses.is_dataclass(method) else {}
    of_data = {"data": data.name, "data_fingerprint": data.fingerprint, "load_data": data.options} if data else {}
    return {
        "study": name,
        "parameters": {key: repr(value) if isinstance(value, Data) else value for key, value in parameters.items()},
        "models": [{**model.provenance(), "weights_hash": weights_hash(model)} for model in models],
        **of_data,
        "versions": software(),
        "argv": sys.argv,
    }


def seen(model: Classifier, data: Data | None) -> Data:
    """Labelled data as the model is to see them; what nobody stated of that is said in one line."""
    if data is None:
        raise UserError("the study measures models on images, and there are none; give data")
    if not data.labelled:
        raise UserError(f"{data.name} has images of unknown label, and the study counts right ones; give labels")
    pixels, stated = bound(data, model)
    known = {name: one for name, one in {**model.card.stated, **stated}.items() if one is not None}
    if said := inferred(known):
        logging.getLogger("gradlens").warning(f"{model.card.name}: not stated, so taken: {said}")
    return pixels


def looks(model: Classifier, data: Data, what: str, needs: Iterable[str] = (), seed: int = 0) -> Iterator[Probe]:
    """A probe of each batch of the data, in order, under a progress bar; refuses an image that cannot be read.

    data: as ``seen`` gives them. what: the pass' name for the bar.
    """
    batches = Batches(data, BATCH)
    label = f"{model.card.name}: {what}"
    for _, batch, failures in track(
        map(batches.__getitem__, range(len(batches))), label, len(data), 0, len(data) > BATCH
    ):
        if failures:
            raise UserError(f"cannot read {next(iter(failures.values()))}; leave it out with --subset")
        yield Probe(model, batch.to(model.device), seed=seed, needs=needs)


def other_split(data: Data, split: str | Data) -> Data:
    """Another split of the same data, or data of its own; refused where it would be the same images."""
    if isinstance(split, Data):
        return split
    if not data.options:
        raise UserError(f"{data.name} are arrays, which have no split '{split}'; give the other images as data")
    other = load_data(**{**data.options, "split": split})
    if other.name == data.name:
        raise UserError(f"{data.name} would be compared with itself; give --data another split than '{split}'")
    return other
