"""A run records what repeats it, and what tells it from another."""

import importlib.metadata

import pytest
import torch
from measured import classifier

from gradlens import analyze, load_data, load_model
from gradlens.analysis import provenance
from gradlens.analyzers import STANDARD


def test_the_processor_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Abacus 9\nprocessor\t: 1\nmodel name\t: Abacus 9\n"
    )
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    assert provenance.device_name(torch.device("cpu")) == "Abacus 9"
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "none")
    assert provenance.device_name(torch.device("cpu"))


def test_provenance_says_how_to_repeat_the_run(baseline):
    found = baseline.provenance
    wanted = (
        "weights",
        "arch",
        "activation",
        "mean",
        "std",
        "data",
        "data_fingerprint",
        "preprocess_hash",
        "analyzers",
    )
    assert [n for n in (*wanted, "batch_size", "device", "world_size", "threads", "argv") if n not in found] == []
    assert (found["seed"], found["precision"], found["folded_sites"], found["world_size"]) == (0, "float32", 3, 1)
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found["analyzers"] == list(STANDARD)


def test_what_a_layout_leaves_in_doubt_is_said_before_the_run(monkeypatch, caplog):
    data = load_data("digits", limit=20)
    monkeypatch.setattr(type(data.source), "notes", ("class folders are in text order",), raising=False)
    run = analyze(classifier(), data, ["sample_asymmetry"], progress=False)
    assert "text order" in caplog.text
    assert run.provenance["data_notes"] == ("class folders are in text order",)


class Held(torch.nn.Module):
    """A network of these buffers, in this order."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


ONES = torch.ones(4)
OTHERS = {
    "a value": {"a": torch.tensor([1.0, 1, 1, 1 + 2**-23]), "b": 2 * ONES},
    "the last value": {"a": ONES, "b": torch.tensor([2.0, 2, 2, 3])},
    "a sign of zero": {"a": ONES, "b": 2 * ONES, "c": torch.tensor(-0.0)},
    "a name": {"a": ONES, "z": 2 * ONES},
    "names exchanged": {"b": ONES, "a": 2 * ONES},
    "a dtype": {"a": ONES.double(), "b": 2 * ONES},
    "one tensor less": {"a": ONES},
}


@pytest.mark.parametrize("changed", OTHERS)
def test_the_hash_of_weights_knows_their_names_types_and_values(changed):
    own = {"a": ONES, "b": 2 * ONES} | ({"c": torch.tensor(0.0)} if "c" in OTHERS[changed] else {})
    assert provenance.weights_hash(Held(**OTHERS[changed])) != provenance.weights_hash(Held(**own))


def test_the_hash_of_weights_is_that_of_a_copy_however_it_lies_in_memory():
    values = torch.arange(12.0).view(3, 4)
    again = values.T.contiguous().T
    assert again.stride() != values.stride()
    assert provenance.weights_hash(Held(a=values)) == provenance.weights_hash(Held(a=again))


def test_a_contract_knows_the_shapes_that_the_same_bytes_have(digits):
    def contract(tensor):
        model = load_model(Held(a=tensor), normalized=True)
        return provenance.contract(model, load_data("digits"), [], 8, 0, "float32")

    flat, square, whole = (contract(t) for t in (ONES, ONES.view(2, 2), ONES.view(torch.int32)))
    assert flat["weights"] == square["weights"] == whole["weights"]
    assert len({flat["weights_layout"], square["weights_layout"], whole["weights_layout"]}) == 3


def test_the_hash_of_weights_is_the_one_that_old_runs_hold():
    # In the network's own order, which is not the names'.
    assert provenance.weights_hash(Held(b=ONES, a=2 * ONES)) == "dcbf30642be00deb"
