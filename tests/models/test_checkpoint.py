"""Every layout of one network gives the same logits; what differs is told apart by value."""

from __future__ import annotations

import argparse
import json
import zipfile
from dataclasses import replace

import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from layouts import ARCH, CLASSES, LAYOUTS, MEAN, STD, WITH_ALL, WITH_ARCH, channels, network, under
from refusals import refused
from torch import nn

from gradlens import analyze, load_data, load_model
from gradlens.cli.main import main
from gradlens.models import describe, read_checkpoint, save_checkpoint
from gradlens.models._zoo import ZOO

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


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_logits(name, tmp_path):
    path, layout = written(name, tmp_path), LAYOUTS[name]
    assert torch.equal(logits(path, weights="raw", **layout.options), logits_of(RAW))
    assert read_checkpoint(path, layout.options.get("trust_pickle", False)).stripped == layout.prefixes


def test_every_layout_gives_the_same_table(tmp_path):
    images = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    data = load_data((images, [i % CLASSES for i in range(24)]))
    tables = []
    for k, name in enumerate(LAYOUTS):
        folder = tmp_path / str(k)
        folder.mkdir()
        model = load_model(written(name, folder), weights="raw", **LAYOUTS[name].options)
        # Pixels as they are: what the file says of preprocessing is not the question here.
        model.card = replace(model.card, preprocess=None)
        tables.append(analyze(model, data, progress=False).samples)
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


@pytest.mark.parametrize("name", [n for n, layout in LAYOUTS.items() if layout.ema])
def test_raw_and_average_weights_are_told_apart_by_value(name, tmp_path):
    path, options = written(name, tmp_path), LAYOUTS[name].options
    assert torch.equal(logits(path, weights="ema", **options), logits_of(AVERAGE))
    assert torch.equal(logits(path, **options), logits_of(AVERAGE))
    assert not torch.allclose(logits_of(RAW), logits_of(AVERAGE), atol=1e-2)
    assert any("raw and EMA" in note for note in load_model(path, **options).card.notes)


@pytest.mark.parametrize("name", [n for n, layout in LAYOUTS.items() if not layout.ema])
def test_a_layout_without_an_average_says_so(name, tmp_path):
    with refused("no ema weights", "--weights auto"):
        load_model(written(name, tmp_path), weights="ema", **LAYOUTS[name].options)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_miniature_is_small(name, tmp_path):
    path = written(name, tmp_path)
    assert sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) < 30_000
    assert path.exists()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_described(name, tmp_path):
    path, options = written(name, tmp_path), LAYOUTS[name].options
    facts = describe(str(path), lambda: load_model(path, **options), options.get("trust_pickle", False))
    assert facts["layout"]
    assert len(facts["sha256"]) == 64
    assert (facts["classes"], facts["activation"]) == (CLASSES, "gelu")
    assert facts["mean"] == MEAN
    unmade = describe(str(path), lambda: load_model(path, arch="test_resnet"), True)
    assert "not built" in unmade["model"]


INSIDE = """
import torch
from gradlens.models._zoo import digits_cnn
from torch import nn

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = digits_cnn(3, width=1)
        self.register_buffer("mu", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sigma", torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return self.model((x - self.mu) / self.sigma)
"""


@pytest.fixture
def inside(tmp_path):
    """A network that normalises inside, and the file of one, wrapped by DistributedDataParallel."""
    (tmp_path / "inside.py").write_text(INSIDE)
    state = {"mu": channels(MEAN), "sigma": channels(STD), **under("model.", RAW.state_dict())}
    torch.save(under("module.", state), tmp_path / "w")
    return tmp_path / "w", f"{tmp_path / 'inside.py'}:Inside"


def test_a_network_that_normalises_inside_keeps_its_buffers_and_is_not_normalised_twice(inside):
    path, arch = inside
    model = load_model(path, arch=arch)
    assert torch.equal(model(images()), logits_of(RAW))
    assert (model.card.mean, model.card.std) == ((0, 0, 0), (1, 1, 1))
    assert any("normalises inside (mu and sigma)" in note for note in model.card.notes)
    assert torch.equal(logits(path, arch=arch, normalized=True), logits_of(RAW))
    with refused("normalises inside", "drop mean and std"):
        load_model(path, arch=arch, mean=MEAN, std=STD)


def test_the_same_file_in_a_bare_network_is_normalised_outside(inside):
    model = load_model(inside[0], arch=ARCH)
    assert torch.equal(model(images()), logits_of(RAW))
    assert model.card.mean == MEAN
    assert any("taken out of the weights" in note for note in model.card.notes)
    with refused("no place inside", "--normalized"):
        load_model(inside[0], arch=ARCH, normalized=True)
    assert not torch.allclose(logits_of(RAW), logits_of(RAW, (0.0,) * 3, (1.0,) * 3), atol=1e-2)


def test_a_normalisation_asked_for_wins_over_the_one_in_the_weights(inside):
    own = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5)}
    assert torch.equal(logits(inside[0], arch=ARCH, **own), logits_of(RAW, **own))


def test_info_says_whether_the_normalisation_is_inside(inside):
    path, arch = inside
    assert describe(str(path), lambda: load_model(path, arch=arch))["normalised"] == "inside the network"
    assert describe(str(path), lambda: load_model(path, arch=ARCH))["normalised"] == "outside, once"


def test_an_untrained_twin_is_normalised_as_its_model(inside):
    twin = load_model(inside[0], arch=ARCH, weights="random")
    assert twin.card.mean == MEAN
    assert not torch.equal(twin.net[0].weight, RAW[0].weight)


def test_two_normalisations_are_refused(tmp_path):
    state = {"mu": channels(MEAN), "sigma": channels(STD), **RAW.state_dict()}
    described = {"arch_kwargs": {"width": 1}, "mean": (0.1,) * 3, "std": (0.5,) * 3}
    save_checkpoint(tmp_path / "w", state, arch="digits_cnn", **described)
    with refused("two normalisations", "--mean and --std"):
        load_model(tmp_path / "w")
    assert torch.equal(logits(tmp_path / "w", mean=MEAN, std=STD), logits_of(RAW))


def test_a_second_normaliser_is_taken_out_only_where_it_repeats_the_first(tmp_path):
    held = {"mu": channels(MEAN), "sigma": channels(STD), "normalizer.new_mean": channels(MEAN), **RAW.state_dict()}
    torch.save({**held, "normalizer.new_std": channels(STD)}, tmp_path / "w")
    assert torch.equal(logits(tmp_path / "w", arch=ARCH), logits_of(RAW))
    torch.save({**held, "normalizer.new_std": 2 * channels(STD)}, tmp_path / "w")
    with refused("2 unexpected (such as 'normalizer.new_mean')"):
        load_model(tmp_path / "w", arch=ARCH)


def test_a_normalisation_of_pixels_up_to_255_is_refused(tmp_path):
    torch.save({"mu": 255 * channels(MEAN), "sigma": 255 * channels(STD), **RAW.state_dict()}, tmp_path / "w")
    with refused("divide mean and std by 255"):
        load_model(tmp_path / "w", arch=ARCH)


def test_a_network_with_a_child_called_model_keeps_that_name(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\nfrom gradlens.models._zoo import digits_cnn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.model = digits_cnn(3, width=1)\n"
        "    def forward(self, x):\n        return self.model(x)\n"
    )
    torch.save({"state_dict": under("module.model.", RAW.state_dict())}, tmp_path / "w")
    options = {"arch": f"{tmp_path / 'net.py'}:Net", "mean": MEAN, "std": STD}
    assert torch.equal(logits(tmp_path / "w", **options), logits_of(RAW))


def test_a_wrong_activation_differs_by_value_and_info_says_the_file_cannot_tell(tmp_path):
    path = written("state dict", tmp_path)
    assert not torch.allclose(logits(path, activation="relu", **WITH_ALL), logits_of(RAW), atol=1e-2)
    assert torch.equal(logits(path, activation="gelu", **WITH_ALL), logits_of(RAW))
    facts = describe(str(path), lambda: load_model(path, **WITH_ALL))
    assert "relu" in facts["activation_is_open"]
    assert "cannot tell" in facts["activation_is_open"]
    assert "--activation decides" in facts["activation_is_open"]
    settled = describe(str(path), lambda: load_model(path, activation="relu", **WITH_ALL))
    assert "activation_is_open" not in settled


def test_an_activation_that_the_file_states_is_not_open(tmp_path):
    described = {"arch_kwargs": {"width": 1}, "mean": MEAN, "std": STD, "activation": "gelu"}
    save_checkpoint(tmp_path / "w", RAW.state_dict(), arch="digits_cnn", **described)
    assert "activation_is_open" not in describe(str(tmp_path / "w"), lambda: load_model(tmp_path / "w"))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("gradlens", "gradlens checkpoint"),
        ("timm", "dictionary with 'state_dict'"),
        ("DeiT", "dictionary with 'model'"),
        ("Lightning model.", "Lightning checkpoint"),
        ("MadryLab", "MadryLab checkpoint"),
        ("Hugging Face folder", "Hugging Face folder"),
        ("safetensors", "state dict"),
    ],
)
def test_layouts_are_told_apart(name, layout, tmp_path):
    assert read_checkpoint(written(name, tmp_path)).layout == layout


def test_info_of_a_resnet_names_its_gelu_twin(tmp_path):
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    torch.save(state, tmp_path / "w")
    facts = describe(str(tmp_path / "w"), lambda: load_model(tmp_path / "w", arch="test_resnet"))
    assert "gelu" in facts["activation_is_open"]
    assert torch.load(tmp_path / "w").keys() == state.keys()
    load_model(tmp_path / "w", arch="test_resnet", activation="gelu")


def test_info_describes_what_is_missing(tmp_path):
    path = written("RobustBench normalize. and backbone.", tmp_path)
    facts = describe(str(path), lambda: load_model(path))
    assert facts["names_its_normalisation"] == "in its weights, as normalize.mean and normalize.std"
    assert facts["prefixes_stripped"] == "module. backbone."
    assert facts["names_its_architecture"] == "no: give --arch"
    assert "--arch" in facts["model"]


def test_a_class_name_alone_does_not_name_an_architecture(tmp_path):
    path = written("timm without arguments", tmp_path)
    with refused("arch 'sequential'", "class", "--arch"):
        load_model(path)
    assert "sequential" in describe(str(path), lambda: load_model(path))["names_its_architecture"]


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


def test_a_folder_of_the_hub_brings_its_preprocessing_and_its_mistakes_are_explained(tmp_path):
    path = written("Hugging Face folder", tmp_path)
    card = load_model(path).card
    assert (card.name, card.preprocess.size, card.preprocess.crop_pct) == ("hub", 32, 0.9)
    (path / "config.json").write_text("{")
    with refused("config.json", "not JSON"):
        load_model(path)
    (path / "config.json").write_text("[]")
    with refused("config.json", "JSON object"):
        load_model(path)
    (path / "config.json").unlink()
    with refused("is a folder without config.json"):
        load_model(path)


def test_timms_arguments_state_the_preprocessing_too(tmp_path):
    args = argparse.Namespace(model="test_resnet", img_size=96, input_size=None, crop_pct=0.9, interpolation="")
    torch.save({"state_dict": timm.create_model("test_resnet").state_dict(), "args": args}, tmp_path / "w")
    how = load_model(tmp_path / "w").card.preprocess
    usual = load_model("timm:test_resnet", weights="random").card.preprocess
    assert (how.size, how.crop_pct, how.interpolation) == (96, 0.9, usual.interpolation)


@pytest.mark.parametrize("wrong", [{"mean": "half"}, {"mean": 0.5}, {"model_kwargs": 3}, {"input_size": 32}])
def test_arguments_that_are_not_understood_are_refused(wrong, tmp_path):
    torch.save({"state_dict": RAW.state_dict(), "args": argparse.Namespace(**wrong)}, tmp_path / "w")
    with refused("describes itself"):
        load_model(tmp_path / "w", **WITH_ALL)


def test_what_a_network_lacks_is_counted_against_the_form_nearest_to_it(inside):
    path, arch = inside
    state = torch.load(path)
    del state["module.model.0.weight"]
    torch.save(state, path)
    with refused("1 keys missing (such as 'model.0.weight'), 0 unexpected"):
        load_model(path, arch=arch)


def test_a_trusted_file_that_is_damaged_is_not_said_to_be_refused(tmp_path):
    path = written("pickled module", tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with refused("could not be unpickled"):
        load_model(path, trust_pickle=True, **WITH_ALL)


def test_arguments_of_a_file_that_do_not_fit_its_architecture_are_named(tmp_path):
    save_checkpoint(tmp_path / "w", RAW.state_dict(), arch="digits_cnn", arch_kwargs={"breadth": 1})
    with refused("breadth", "--arch"):
        load_model(tmp_path / "w")
    with refused("wdth", "width"):
        load_model(tmp_path / "w", arch="digits_cnn:wdth=1")


def test_torchvision_brings_its_preprocessing_and_normalisation():
    model = load_model("torchvision:squeezenet1_1", weights="random", num_classes=4)
    assert (model.card.name, model.card.weights) == ("squeezenet1_1-random", "random")
    assert model.card.mean == (0.485, 0.456, 0.406)
    assert (model.card.preprocess.size, model.card.preprocess.crop_pct) == (224, 0.875)
    assert model.card.preprocess.interpolation == "bilinear"
    assert model(images()[:1].repeat(1, 1, 2, 2)).shape == (1, 4)
    with refused("squeezenet1_9", "squeezenet1_1"):
        load_model("torchvision:squeezenet1_9")


def test_torchvision_builds_for_a_checkpoint_too(tmp_path):
    net = load_model("torchvision:squeezenet1_1", weights="random").net
    torch.save(net.state_dict(), tmp_path / "w")
    card = load_model(tmp_path / "w", arch="torchvision:squeezenet1_1").card
    assert (card.arch, card.mean) == ("torchvision:squeezenet1_1", (0.485, 0.456, 0.406))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub that holds one repository, and no way to any other."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--lab--tiny" / "snapshots" / ("0" * 40)
    (tmp_path / "models--lab--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--lab--tiny" / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    net = timm.create_model("test_resnet", num_classes=3).eval()
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"mean": MEAN, "std": STD}}
    config["pretrained_cfg"] |= {"input_size": [3, 32, 32], "crop_pct": 1.0, "classifier": "fc", "first_conv": "conv1"}
    (snapshot / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(net.state_dict(), snapshot / "model.safetensors")
    return net, snapshot


def test_a_model_of_the_hub_equals_its_folder(hub):
    net, snapshot = hub
    model = load_model("hf-hub:lab/tiny")
    assert (model.card.arch, model.card.mean, model.card.num_classes) == ("test_resnet", MEAN, 3)
    assert torch.equal(model(images()), logits_of(net))
    assert torch.equal(logits(snapshot), logits_of(net))


def test_a_model_that_the_hub_cannot_give_says_what_to_do(hub):
    with refused("hf-hub:lab/other", "connection", "config.json and model.safetensors"):
        load_model("hf-hub:lab/other")


@pytest.mark.parametrize(
    ("arch", "parameters"), [("resnet20_cifar", 269_722), ("preactresnet18", 11_171_146), ("wrn_28_10", 36_479_194)]
)
def test_the_zoo_has_the_published_sizes(arch, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in ZOO[arch]().parameters()) == parameters


def test_the_zoo_is_reached_with_parameters(tmp_path):
    arch = "wrn_28_10:widen=1,depth=10"
    torch.save(ZOO["wrn_28_10"](5, depth=10, widen=1).state_dict(), tmp_path / "w")
    card = load_model(tmp_path / "w", arch=arch, normalized=True).card
    assert (card.arch, card.num_classes, card.activation) == (arch, 5, "relu")
    assert card.options["arch"] == arch
    untrained = load_model("resnet20_cifar:num_classes=4", normalized=True)
    assert (untrained.card.weights, untrained.card.num_classes) == ("random", 4)
    assert isinstance(untrained.net.linear, nn.Linear)


def run(*words):
    return main([str(w) for w in words])


def test_info_explains_a_file_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    path = written("MadryLab with its settings pickled", tmp_path)
    assert run("info", path, "--arch", ARCH) == 2
    assert "layouts.Settings" in capsys.readouterr().err
    assert run("info", path, "--arch", ARCH, "--trust-pickle", "--json") == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["layout"] == "MadryLab checkpoint"
    assert facts["names_its_normalisation"] == "in its weights, as normalizer.new_mean and normalizer.new_std"
    assert facts["prefixes_stripped"] == "module. model."
    assert facts["architecture"] == ARCH
