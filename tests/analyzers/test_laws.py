"""Every analyzer gives one number an image, whatever its order and batch, only reads the probe, and repeats itself."""

import numpy as np
import pytest
import torch
from planted import summarized, tallied

from gradlens import load_data
from gradlens.analyzers import Analyzer, without_limits
from gradlens.core.registry import analyzer
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

ANALYZERS = list(analyzer)
each_analyzer = pytest.mark.parametrize("name", ANALYZERS)


def fitted(name, model, pilot):
    # With cheaper parameters where an analyzer's own would keep a test waiting.
    chosen = analyzer.build(f"{name}:{getattr(analyzer[name], 'cheap', '')}")
    data = load_data("shapes")
    chosen.expect(data.indices, data.labels)
    chosen.fit(Probe(model, pilot, needs=chosen.needs))
    return chosen


def assert_same_columns(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5, equal_nan=True)


@each_analyzer
def test_columns_hold_one_number_an_image(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    for column, values in chosen.measure(Probe(cnn, few, needs=chosen.needs)).items():
        assert values.shape == (32,), column
        assert values.isfinite().float().mean() > 0.9, column


@each_analyzer
def test_columns_do_not_depend_on_order(name, cnn, few, pilot):
    chosen, order = fitted(name, cnn, pilot), torch.randperm(32)
    shuffled = Batch(few.image[order], few.target[order], few.index[order], few.outline[order])
    found = chosen.measure(Probe(cnn, shuffled, needs=chosen.needs))
    expected = chosen.measure(Probe(cnn, few, needs=chosen.needs))
    assert_same_columns(found, {k: v[order] for k, v in expected.items()})


@each_analyzer
def test_columns_do_not_depend_on_batch_mates(name, cnn, shapes, pilot):
    chosen = fitted(name, cnn, pilot)
    one, other = (chosen.measure(Probe(cnn, shapes[rows], needs=chosen.needs)) for rows in (slice(0, 16), slice(8, 24)))
    assert_same_columns({k: v[:8] for k, v in other.items()}, {k: v[8:] for k, v in one.items()})


def states(tallies):
    return {f"{key}/{name}": array for key, tally in tallies.items() for name, array in tally.state().items()}


@pytest.mark.parametrize("name", [n for n in ANALYZERS if type(analyzer[n]()).tallies is not Analyzer.tallies])
def test_tallies_do_not_depend_on_order(name, cnn, few, pilot):
    chosen, order = fitted(name, cnn, pilot), torch.randperm(32)
    halves = [few[slice(0, 16)], few[slice(16, 32)]]
    shuffled = [Batch(few.image[rows], few.target[rows], few.index[rows]) for rows in order.split(16)]
    found, expected = (
        states(tallied(chosen, *(Probe(cnn, b, needs=chosen.needs) for b in bs))) for bs in (shuffled, halves)
    )
    assert any(array.any() for array in expected.values())
    for key, array in expected.items():
        # Rounding may put a pixel into the next bin.
        assert np.abs(found[key] - array).sum() <= 1e-5 * np.abs(array).sum(), key


@each_analyzer
def test_analyzer_only_reads_the_probe(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    probe = Probe(cnn, few, needs=("units",))
    read = [*probe.scaled_gradient(), probe.edges("canny"), probe.edges("contour_energy"), probe.image, probe.logits]
    before = [t.clone() for t in (*read, *probe.units().values())]
    chosen.measure(probe)
    chosen.observe(probe)
    assert all(torch.equal(a, b) for a, b in zip((*read, *probe.units().values()), before, strict=True))


@each_analyzer
def test_summary_holds_numbers_and_arrays(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    probe = Probe(cnn, few, needs=chosen.needs)
    summary = summarized(chosen, probe)
    assert summary.scalars
    # An interval that cannot be had is explained where a run is put together.
    missing = summary.missing | without_limits(summary.scalars)
    assert [k for k, v in summary.scalars.items() if not np.isfinite(v) and k not in missing] == []
    assert all(isinstance(a, np.ndarray) for a in summary.arrays.values())


@each_analyzer
def test_looking_twice_says_the_same(name, cnn, few, pilot):
    first, second = fitted(name, cnn, pilot), fitted(name, cnn, pilot)
    assert_same_columns(
        second.measure(Probe(cnn, few, needs=second.needs)), first.measure(Probe(cnn, few, needs=first.needs))
    )
