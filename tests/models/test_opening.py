"""A file is opened without running any code in it unless it is trusted, and a bad one is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import timm
import torch
from layouts import LAYOUTS, MEAN, STD, WITH_ALL, WITH_ARCH, channels, network
from refusals import refused
from torch import nn

from gradlens import load_model
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

RAW, AVERAGE = network(1), network(2)


def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def logits_of(net, mean=MEAN, std=STD):
    """What a network says of images that are normalised exactly once, without any code of ours."""
    with torch.no_grad():
        return net((images() - channels(mean)) / channels(std))


def logits(path, **options):
    with torch.no_grad():
        return load_model(path, device="cpu", **options)(images())


def written(name, folder):
    return LAYOUTS[name].write(folder, RAW, AVERAGE)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("MadryLab with its settings pickled", ["layouts.Settings", "pathlib"]),
        ("pickled module", ["torch.nn.modules.linear.Linear", "torch.nn.modules.container.Sequential", "GELU"]),
        ("pickled module in a dictionary", ["torch.nn.modules.conv.Conv2d", "BatchNorm2d"]),
    ],
)
def test_what_needs_more_than_weights_is_refused_with_every_name(name, needed, tmp_path):
    path = written(name, tmp_path)
    with pytest.raises(ValueError, match="--trust-pickle") as caught:
        load_model(path, **WITH_ARCH)
    assert [n for n in needed if n not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


class Elsewhere:
    pass


@pytest.mark.parametrize(("missing", "words"), [("module", ["'elsewhere'", "install"]), ("class", ["PYTHONPATH"])])
def test_a_trusted_pickle_whose_code_is_not_here_says_what_to_install(missing, words, tmp_path, monkeypatch):
    torch.save({"model": RAW.state_dict(), "args": Elsewhere()}, tmp_path / "w")
    if missing == "class":
        monkeypatch.delattr(f"{__name__}.Elsewhere")
    else:
        rewrite_module(tmp_path / "w", __name__, "elsewhere")
    with refused(*words):
        load_model(tmp_path / "w", trust_pickle=True, **WITH_ALL)


def rewrite_module(path, old, new):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data.replace(f"c{old}\n".encode(), f"c{new}\n".encode()))


@pytest.mark.parametrize(
    "arguments", [{"layers": [9000] * 4}, {"stem_width": 60_000, "stem_type": "deep"}, {"layers": [1, 1, 1, 65_000]}]
)
def test_small_arguments_that_together_build_a_huge_network_are_refused(arguments, tmp_path, monkeypatch):
    net, made = timm.create_model("test_resnet", num_classes=3), []
    real = torch.nn.modules.module.Module.__init__

    def counted(self, *args, **kwargs):
        made.append(1)
        real(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.modules.module.Module, "__init__", counted)
    save_checkpoint(tmp_path / "w", net.state_dict(), arch="test_resnet", arch_kwargs=arguments, mean=MEAN, std=STD)
    with refused("many times the weights", "--arch"):
        load_model(tmp_path / "w")
    assert len(made) < 10_000
    save_checkpoint(tmp_path / "w", net.state_dict(), arch="test_resnet", arch_kwargs={"drop_rate": 0.1})
    assert load_model(tmp_path / "w").card.arch == "test_resnet"


def test_trust_is_recommended_only_where_it_would_help(tmp_path, monkeypatch):
    torch.save({"model": RAW.state_dict(), "args": Elsewhere()}, tmp_path / "w")
    with refused(f"{__name__}.Elsewhere", "--trust-pickle"):
        load_model(tmp_path / "w", **WITH_ALL)
    monkeypatch.delattr(f"{__name__}.Elsewhere")
    save_checkpoint(tmp_path / "code", RAW.state_dict(), arch="elsewhere.nets:make")
    rewrite_module(tmp_path / "w", __name__, "elsewhere.nets")
    for path in (tmp_path / "w", tmp_path / "code"):
        with pytest.raises(ValueError, match="not here") as caught:
            load_model(path)
        assert "--trust-pickle" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_torchscript_is_code(tmp_path):
    torch.jit.save(torch.jit.script(RAW), tmp_path / "w")
    with refused("TorchScript", "--trust-pickle"):
        load_model(tmp_path / "w", **WITH_ALL)
    assert torch.equal(logits(tmp_path / "w", trust_pickle=True, **WITH_ALL), logits_of(RAW))
    compiled = logits(tmp_path / "w", trust_pickle=True, mean=MEAN, std=STD)
    torch.testing.assert_close(compiled, logits_of(RAW))


def test_a_file_older_than_zip_opens_and_names_what_it_needs(tmp_path):
    torch.save(RAW.state_dict(), tmp_path / "w", _use_new_zipfile_serialization=False)
    assert torch.equal(logits(tmp_path / "w", **WITH_ALL), logits_of(RAW))
    torch.save(RAW, tmp_path / "w", _use_new_zipfile_serialization=False)
    with refused("torch.nn.modules.container.Sequential", "--trust-pickle"):
        load_model(tmp_path / "w", **WITH_ALL)


def test_trust_is_recorded_with_the_other_options(tmp_path):
    path = written("pickled module", tmp_path)
    options = load_model(path, mean=MEAN, std=STD, trust_pickle=True).card.options
    assert options["trust_pickle"] is True
    assert torch.equal(logits(options["spec"], mean=MEAN, std=STD, trust_pickle=True), logits_of(RAW))


def test_a_file_that_names_code_as_its_architecture_does_not_run_it(tmp_path):
    command = f"touch '{tmp_path / 'touched'}'"
    save_checkpoint(tmp_path / "w", RAW.state_dict(), arch="os:system", arch_kwargs={"command": command})
    with refused("os:system", "--arch", "--trust-pickle"):
        load_model(tmp_path / "w")
    assert not (tmp_path / "touched").exists()


def test_a_file_that_declares_terabytes_is_refused(tmp_path):
    torch.save({"0.weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "w")
    with refused("declares", "4,398,046,511,104 bytes"):
        load_model(tmp_path / "w", **WITH_ALL)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "s").write_bytes(len(header).to_bytes(8, "little") + header)
    with refused("damaged safetensors"):
        load_model(tmp_path / "s", **WITH_ALL)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    torch.save(RAW.state_dict(), tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "w") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data + bytes(10**6 if name.endswith("/data/0") else 0))
    with refused("unpacks to", "torch.save"):
        load_model(tmp_path / "w", **WITH_ALL)


def test_a_trusted_file_that_is_damaged_is_not_said_to_be_refused(tmp_path):
    path = written("pickled module", tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with refused("could not be unpickled"):
        load_model(path, trust_pickle=True, **WITH_ALL)


class RunsCode:
    """A pickle that touches a file when it is opened without care."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("layout", ["pickle", "torch.save"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, layout, protocol):
    content = {"state_dict": RunsCode(tmp_path / "touched")}
    if layout == "pickle":
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        torch.save(content, tmp_path / "evil.pt", pickle_protocol=protocol)
    with refused("evil.pt", "save"):
        load_model(tmp_path / "evil.pt", arch="resnet18")
    assert not (tmp_path / "touched").exists()


def broken_files(folder):
    """A file of every bad kind, by name."""
    torch.save(digits_cnn().state_dict(), folder / "whole")
    whole = (folder / "whole").read_bytes()
    (folder / "empty").touch()
    (folder / "truncated").write_bytes(whole[: len(whole) // 2])
    (folder / "shortened").write_bytes(whole[:-50])
    (folder / "random").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "text").write_text("<html>Not found</html>")
    (folder / "folder").mkdir()
    torch.save(nn.Linear(2, 2), folder / "module")
    torch.save({"a": 3, "b": "c"}, folder / "numbers")
    torch.save({0: torch.ones(2)}, folder / "unnamed")
    torch.save([torch.ones(2)], folder / "list")
    torch.save({}, folder / "nothing")
    torch.save({"weights": digits_cnn().state_dict()}, folder / "nested")
    torch.save({**digits_cnn().state_dict(), "0.weight": torch.full((16, 3, 3, 3), torch.nan)}, folder / "nan")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", ["no checkpoint", "timm:NAME"]),
        ("empty", ["0 bytes"]),
        ("truncated", ["truncated", "copy it again"]),
        ("shortened", ["truncated", "copy it again"]),
        ("random", ["not a readable PyTorch checkpoint", "5,000 bytes"]),
        ("text", ["not a readable PyTorch checkpoint"]),
        ("folder", ["is a folder"]),
        ("module", ["torch.nn.modules.linear.Linear", "model.state_dict()"]),
        ("numbers", ["'a' is a int", "dictionary of tensors"]),
        ("unnamed", ["entry 0", "model.state_dict()"]),
        ("list", ["holds a list", "model.state_dict()"]),
        ("nothing", ["holds no weights"]),
        ("nested", ["dictionary with 'weights'", "--arch"]),
        ("nan", ["0.weight", "not finite", "earlier checkpoint"]),
        ("whole", ["state dict", "--arch"]),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, name, words):
    broken_files(tmp_path)
    with refused(str(tmp_path / name), *words):
        load_model(tmp_path / name)
