"""A function of a probe is an analyzer, and an analyzer's recorded name makes it again."""

import pytest
import torch

from gradlens.analyzers import Inline, choose_analyzers, name_of
from gradlens.core.names import Name
from gradlens.core.registry import analyzer as analyzers
from gradlens.probes.probe import Probe


def test_function_of_a_probe_is_an_analyzer(cnn, batch):
    columns = Inline(lambda p: {"twice": 2 * p.loss}).measure(Probe(cnn, batch))
    assert torch.equal(columns["twice"], 2 * Probe(cnn, batch).loss)


def test_the_words_for_several_stand_beside_others():
    standard = [name_of(a) for a in choose_analyzers("standard")]
    assert [name_of(a) for a in choose_analyzers("standard,edge_blur")] == [*standard, "edge_blur"]
    assert [name_of(a) for a in choose_analyzers(["gallery", "standard"])] == ["gallery", *standard]
    full = [name_of(a) for a in choose_analyzers("full")]
    assert sorted(name_of(a) for a in choose_analyzers("standard,full")) == sorted(full)
    assert [Name.parse(name).stem for name in full] == list(analyzers)
    last = choose_analyzers(["standard", standard[0]])
    assert sorted(name_of(a) for a in last) == sorted(standard)


CHANGED = {
    "objective": "margin",
    "sigma": 2.5,
    "eps": 8 / 255,
    "steps": 3,
    "images": 5,
    "points": 7,
    "min_edge_pixels": 9,
}


@pytest.mark.parametrize("name", analyzers)
def test_an_analyzers_recorded_name_makes_it_again(name):
    fields = getattr(analyzers[name], "__dataclass_fields__", {})
    changed = {k: v for k, v in CHANGED.items() if k in fields and fields[k].init}
    given = analyzers[name](**changed)
    (again,) = choose_analyzers([Name.parse(name_of(given)).spec])
    assert name_of(again) == name_of(given)
    assert [getattr(again, f) for f in fields if fields[f].init] == [
        getattr(given, f) for f in fields if fields[f].init
    ]
