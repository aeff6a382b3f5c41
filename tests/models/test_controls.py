"""Untrained twins, whole or from the output down: what is random in them, what stays, and that they open again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from gradlens.models._stages import stages
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens import Preprocess, Run, load_model
from gradlens.analysis.doubts import preflight
from gradlens.cli.main import main
from gradlens.models import Classifier, cascade, random_twin, save_checkpoint
from gradlens.models._zoo import ZOO, digits_cnn
from gradlens.models.fresh import about_fresh, reinitialise

HALF = (0.5, 0.5, 0.5)
SMALL = {"digits_cnn": {"width": 2}, "wrn_28_10": {"depth": 10, "widen": 1}}
ZOO_NAMES = [
    "digits_cnn:width=2",
    "resnet20_cifar:num_classes=9",
    "preactresnet18:num_classes=9",
    "wrn_28_10:depth=10,widen=1",
]
BY_NAME = [*ZOO_NAMES, "timm:resnet18", "timm:vit_tiny_patch16_224"]


def trained(net):
    """Every weight and statistic of a network moved away from where it began, in place."""
    generator = torch.Generator().manual_seed(9)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.empty(tensor.shape).uniform_(0.01, 0.1, generator=generator))
        else:
            tensor.add_(7)
    return net


def as_module(net, **options):
    return load_model(net, mean=HALF, std=HALF, device="cpu", **options)


def zoo(name):
    return as_module(trained(ZOO[name](**SMALL.get(name, {}))))


def by_name(spec):
    """Opened by its name, as a user does, and then trained."""
    given = {} if spec.startswith("timm:") else {"mean": HALF, "std": HALF}
    model = load_model(spec, weights="random:seed=5", device="cpu", **given)
    model.card = replace(model.card, name="own", weights="raw")
    trained(model.net)
    return model


@pytest.fixture(scope="module")
def resnet():
    return by_name("timm:resnet18")


@pytest.fixture(scope="module")
def vit():
    return by_name("timm:test_vit2")


def states(*models):
    return [model.net.state_dict() for model in models]


def assert_equal(a, b, keys=None):
    assert [k for k in (a if keys is None else keys) if not torch.equal(a[k], b[k])] == []


def matrices(state):
    return [k for k, v in state.items() if v.ndim > 1 and v.is_floating_point()]


# What is random


@pytest.mark.parametrize("spec", BY_NAME)
def test_a_twin_differs_in_every_weight_matrix(spec):
    model = by_name(spec)
    before, twin = {k: v.clone() for k, v in model.net.state_dict().items()}, random_twin(model)
    state = twin.net.state_dict()
    assert state.keys() == before.keys()
    assert [k for k in matrices(before) if torch.equal(before[k], state[k])] == []
    # What a matrix holds is drawn, not shifted.
    assert max(abs(_correlation(before[k], state[k])) for k in matrices(before) if before[k].numel() > 1000) < 0.5
    assert_equal(before, model.net.state_dict())
    assert (twin.card.name, twin.card.weights) == ("own-random", "random")
    kept = ("mean", "std", "preprocess", "arch", "activation", "num_classes")
    assert [k for k in kept if getattr(twin.card, k) != getattr(model.card, k)] == []
    assert not twin.training


def _correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("name", ZOO)
def test_a_bare_module_is_reset_as_a_fresh_one_is_drawn(name):
    """torch's modules draw in ``reset_parameters`` what they draw when they are made."""
    model = zoo(name)
    twin, state = random_twin(model, 3), model.net.state_dict()
    fresh = ZOO[name](**SMALL.get(name, {})).state_dict()
    for key, value in twin.net.state_dict().items():
        assert not (key in matrices(state) and torch.equal(value, state[key])), key
        if "running" in key or "tracked" in key:
            assert torch.equal(value, fresh[key]), key
        if value.numel() > 500:
            assert float(value.std()) == pytest.approx(float(fresh[key].std()), rel=0.2), key
    assert twin.card.notes == ("fresh weights, seed 3",)


def test_what_cannot_be_reset_stays_and_is_named():
    model = as_module(trained(timm.create_model("vit_tiny_patch16_224", depth=1)))
    twin = random_twin(model)
    (kept,) = [note for note in twin.card.notes if "no reset_parameters" in note]
    assert "cls_token, pos_embed" in kept
    assert "blocks" not in kept
    ours, theirs = states(twin, model)
    assert_equal(ours, theirs, ["cls_token", "pos_embed"])
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def test_torchs_attention_and_a_nested_position_embedding_are_handled():
    net = torchvision.models.VisionTransformer(32, 16, 3, 2, 8, 16, num_classes=5)
    model = as_module(trained(net))
    ours, theirs = states(random_twin(model), model)
    same = [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])]
    assert same == ["class_token", "encoder.pos_embedding"]
    first, *_ = parts = stages(model)
    assert first.name == "conv_proj"
    assert sorted(k for part in parts for k in part.keys) == sorted(theirs)


def test_buffers_that_are_no_statistic_stay():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sigma", torch.tensor([0.2, 0.3, 0.4]))
            self.net = digits_cnn(width=1)

        def forward(self, x):
            return self.net(x / self.sigma.view(1, 3, 1, 1))

    twin = random_twin(load_model(trained(Inside()), normalized=True, device="cpu"))
    assert twin.net.sigma.tolist() != pytest.approx([0.2, 0.3, 0.4])
    assert "sigma" in twin.card.notes[1]
    assert float(twin.net.net[1].running_mean.abs().max()) == 0


NORMALISING = """
import torch
from torch import nn
from gradlens.models._zoo import digits_cnn

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mu", torch.zeros(1, 3, 1, 1))
        self.register_buffer("sigma", torch.zeros(1, 3, 1, 1))
        self.net = digits_cnn(width=1)

    def forward(self, x):
        return self.net((x - self.mu) / self.sigma)

def already_trained():
    net = digits_cnn(width=1)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        for p in net.parameters():
            p.data.normal_()
    return net
"""


def test_a_twin_keeps_the_normalisation_that_only_the_file_knows(tmp_path):
    (tmp_path / "net.py").write_text(NORMALISING)
    state = {f"net.{k}": v for k, v in trained(digits_cnn(width=1)).state_dict().items()}
    torch.save({"mu": torch.full((1, 3, 1, 1), 0.4), "sigma": torch.full((1, 3, 1, 1), 0.2), **state}, tmp_path / "w")
    model = load_model(tmp_path / "w", arch=f"{tmp_path / 'net.py'}:Inside", device="cpu")
    for twin in (random_twin(model), *cascade(model)):
        assert float(twin.net.sigma[0, 0]) == pytest.approx(0.2)
        assert twin(torch.rand(2, 3, 32, 32)).isfinite().all()


def test_weights_that_come_with_the_users_code_are_not_taken_for_random(tmp_path):
    (tmp_path / "net.py").write_text(NORMALISING)
    model = load_model(f"{tmp_path / 'net.py'}:already_trained", mean=HALF, std=HALF, device="cpu")
    ours, theirs = states(random_twin(model), model)
    assert [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])] == []


def test_a_pickled_module_has_a_twin(tmp_path):
    torch.save(trained(digits_cnn(width=1)), tmp_path / "whole")
    given = {"mean": HALF, "std": HALF, "trust_pickle": True, "device": "cpu"}
    model, twin = (load_model(tmp_path / "whole", weights=w, **given) for w in ("auto", "random"))
    ours, theirs = states(twin, model)
    assert [k for k in matrices(theirs) if torch.equal(ours[k], theirs[k])] == []
    assert_equal(ours, random_twin(model).net.state_dict())


@pytest.mark.parametrize("seed", range(4))
def test_a_twin_is_not_what_a_training_with_its_seed_began_from(seed):
    torch.manual_seed(seed)
    begun = digits_cnn(width=2)
    for twin in (random_twin(as_module(begun), seed), random_twin(by_name(BY_NAME[0]), seed)):
        assert not torch.equal(twin.net[0].weight.flatten()[:10], begun[0].weight.flatten()[:10])


def test_the_same_seed_is_the_same_twin_and_the_callers_random_numbers_go_on(cnn):
    before = torch.get_rng_state()
    one, two, other = random_twin(cnn, 1), random_twin(cnn, 1), random_twin(cnn, 2)
    list(cascade(cnn, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert_equal(*states(one, two))
    assert not torch.equal(one.net[0].weight, other.net[0].weight)


def test_a_network_changed_after_loading_is_copied(resnet):
    changed = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), resnet.card)
    twin = random_twin(changed)
    assert twin.net[1].weight.shape == (3, 12)
    assert twin.card.options is None


def test_a_twin_has_its_models_precision():
    twin = random_twin(by_name("digits_cnn:width=2").double())
    assert {t.dtype for t in twin.parameters()} == {torch.float64}


def test_branches_that_start_at_zero_are_said(resnet):
    twin = random_twin(resnet)
    assert "8 branches start at a scale of zero and do nothing, such as layer1.0.bn2.weight" in twin.card.notes
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert about_fresh(net, 0) == ("fresh weights, seed 0",)
    nn.init.zeros_(net[1].weight)
    assert len(about_fresh(net, 0)) == 2


def test_a_reset_that_changes_nothing_is_noticed():
    class Stubborn(nn.Linear):
        def reset_parameters(self):
            pass

    net = nn.Sequential(Stubborn(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(6.0).view(2, 3))
        net[0].bias.fill_(0)
    assert reinitialise(net, 0) == ("no reset_parameters for 0.weight, which stay as they were",)


# The cascade


def sequence(request, name):
    return zoo(name) if name in ZOO else request.getfixturevalue(name)


@pytest.mark.parametrize("name", [*ZOO, "resnet", "vit"])
def test_each_step_is_fresh_above_its_stage_and_trained_below(request, name):
    model = sequence(request, name)
    parts, own, fresh = stages(model), model.net.state_dict(), random_twin(model, 2).net.state_dict()
    steps = list(cascade(model, 2))
    assert len(steps) == len(parts) > 1
    for count, step in enumerate(steps, 1):
        state = step.net.state_dict()
        assert_equal(state, own, [k for part in parts[:-count] for k in part.keys])
        assert_equal(state, fresh, [k for part in parts[-count:] for k in part.keys])
        names = [part.name for part in parts[-count:]][::-1]
        assert step.card.weights == f"cascade:{'+'.join(names)}"
        assert step.card.name == f"{model.card.name}-cascade-{parts[-count].name}"
    assert_equal(steps[-1].net.state_dict(), fresh, list(fresh))


def test_the_steps_share_no_memory(cnn):
    one, two = list(cascade(cnn))[:2]
    places = [{t.data_ptr() for t in m.net.state_dict().values()} for m in (cnn, one, two)]
    assert not places[0] & places[1]
    assert not places[1] & places[2]


def test_statistics_travel_with_their_module(cnn):
    parts = stages(cnn)
    assert [part.name for part in parts] == ["0", "3", "6", "11"]
    assert {k for k in parts[1].keys if k.startswith("4.")} >= {"4.running_mean", "4.running_var", "4.weight"}
    second = list(cascade(cnn))[1].net
    assert [float(second[i].running_mean.abs().max()) > 0 for i in (1, 4, 7)] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", "conv1 layer1 layer2 layer3 layer4 fc"),
        ("swin_tiny_patch4_window7_224", "patch_embed layers.0 layers.1 layers.2 layers.3 head"),
        ("convnext_tiny", "stem stages.0 stages.1 stages.2 stages.3 head"),
        ("efficientnet_b0", "conv_stem blocks.1 blocks.3 blocks.4 blocks.5 blocks.6 conv_head classifier"),
        ("vit_tiny_patch16_224", "patch_embed blocks.1 blocks.3 blocks.5 blocks.7 blocks.9 blocks.11 head"),
        ("resnet152", "conv1 layer3.3 layer3.9 layer3.15 layer3.21 layer3.27 layer3.32 fc"),
        ("densenet121", None),
        ("vgg16_bn", None),
        ("regnety_002", None),
        ("mixer_s32_224", None),
    ],
)
def test_stages_are_the_networks_own_and_at_most_eight(name, expected):
    with torch.device("meta"):
        net = timm.create_model(name)
    parts = stages(Classifier(net, replace(CARD, preprocess=None)))
    if expected:
        assert [part.name for part in parts] == expected.split()
    assert 3 < len(parts) <= 8
    assert sorted(k for part in parts for k in part.keys) == sorted(net.state_dict())
    assert {k.partition(".")[0] for k in parts[-1].keys} == {net.default_cfg["classifier"].partition(".")[0]}


CARD = load_model(nn.Sequential(nn.Linear(1, 1)), normalized=True, device="cpu").card


class Backwards(nn.Module):
    """Registers its parts from the output to the input, and one that it never calls."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.spare = nn.Linear(4, 4)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))


def test_stages_come_in_the_order_of_a_forward_pass():
    model = as_module(Backwards())
    registered = [part.name for part in stages(model)]
    model.card = replace(model.card, preprocess=Preprocess(8))
    assert [part.name for part in stages(model)] == ["first", "second", "head"]
    assert registered != ["first", "second", "head"]
    (first, *_) = cascade(model)
    assert first.card.weights == "cascade:head"
    assert not torch.equal(first.net.head.weight, model.net.head.weight)
    assert torch.equal(first.net.first.weight, model.net.first.weight)


# What they predict


def top1(model, batch):
    with torch.no_grad():
        return float((model(batch.image).argmax(1) == batch.target).double().mean())


def test_predictions_go_to_chance_at_every_step(cnn):
    """A random readout of good features is right by luck of the draw, so many twins are averaged."""
    batch = gl.load_data("digits").batch(range(150))
    found = np.array([[top1(twin, batch) for twin in cascade(cnn, seed)] for seed in range(16)])
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert top1(cnn, batch) > 0.8
    assert (abs(found.mean(0) - 0.1) < 3.5 * error).all(), (found.mean(0), error)
    assert found.max() < 0.5


def test_controls_are_never_suspicious(cnn):
    data = gl.load_data("digits")
    assert preflight(random_twin(cnn), data, (50.0, 1.0), 64) is None
    assert preflight(next(iter(cascade(cnn))), data, (50.0, 1.0), 64) is None
    assert "50 ± 1 % was expected" in preflight(cnn, data, (50.0, 1.0), 64)
    untrained = as_module(digits_cnn(width=1))
    assert "chance" in preflight(untrained, data, None, 64)


def test_a_twin_does_not_claim_what_was_published_of_its_model(cnn):
    shown = {"label": "robust", "group": "a", "color": "red", "published_top1": 60}
    cnn.card = replace(cnn.card, name="robust", display=shown)
    assert random_twin(cnn).card.display == {"label": "robust-random", "group": "a"}


# Opened again


@pytest.fixture
def checkpoint(tmp_path):
    """Raw and average weights that differ everywhere."""
    raw, average = trained(digits_cnn(width=2)), trained(digits_cnn(width=2))
    described = {"arch_kwargs": {"width": 2}, "mean": HALF, "std": HALF, "preprocess": Preprocess(32, 1.0)}
    save_checkpoint(tmp_path / "two.pt", raw.state_dict(), arch="digits_cnn", ema=average.state_dict(), **described)
    return tmp_path / "two.pt"


@pytest.mark.parametrize("weights", ["raw", "ema", "auto"])
def test_the_options_of_a_twin_open_it_again(checkpoint, weights):
    model = load_model(checkpoint, weights=weights, device="cpu")
    for twin in (random_twin(model, 4), *cascade(model, 4)):
        again = load_model(**twin.card.options, device="cpu")
        assert_equal(*states(twin, again))
        assert again.card.weights == twin.card.weights
        assert again.card.name == twin.card.name
        assert again.card.notes == twin.card.notes


def test_a_run_of_a_twin_looks_again_at_its_images(checkpoint, tmp_path):
    model = load_model(checkpoint, weights="raw", device="cpu")
    twin = list(cascade(model, 1))[1]
    gl.analyze(twin, "digits", "sample_asymmetry", tmp_path / "run", limit=20, progress=False)
    run = Run.load(tmp_path / "run")
    row = run.samples.iloc[7]
    assert float(run.probe(int(row["index"])).loss) == pytest.approx(row["loss"], rel=1e-5)
    assert run.provenance["model"]["weights"] == "cascade:11+6"
    assert run.provenance["load_model"]["weights"] == "cascade:until=6,seed=1,of=raw"


# What is refused


class Fixed(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Alone(nn.Sequential):
    def __deepcopy__(self, memo):
        raise RuntimeError("only one of me")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: random_twin(as_module(Fixed())), ["Fixed", "no weight matrix"]),
        (lambda path: random_twin(as_module(Alone(nn.Linear(2, 2)))), ["cannot be copied", "only one of me"]),
        (lambda path: load_model(path, weights="cascade:until=layer9"), ["'layer9'", "11"]),
        (lambda path: load_model(path, weights="cascade"), ["stage of two", "11"]),
        (lambda path: load_model(path, weights="random:sed=1"), ["'sed'", "seed"]),
        (lambda path: load_model(path, weights="random:seed=x"), ["seed=x"]),
        (lambda path: load_model(path, weights="randon"), ["'randon'", "random"]),
        (lambda path: load_model(path, weights="cascade:until=6,of=emma"), ["'emma'", "ema"]),
    ],
)
def test_a_mistake_is_one_line(checkpoint, make, words):
    with refused(*words):
        make(checkpoint)


# On the command line


def run(folder: Path, line: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "120")
        return main(line.split())


LINE = "analyze two.pt --data digits --limit 40 -b 20 --examples 0 --analyzers sample_asymmetry"


def test_twins_are_measured_beside_their_model_from_one_decode(checkpoint, monkeypatch, capsys):
    from gradlens.data import Data

    read, original = [], Data.read
    monkeypatch.setattr(Data, "read", lambda self, indices: read.append(len(indices)) or original(self, indices))
    place = checkpoint.parent
    assert run(place, f"{LINE} --control cascade --seed 3 --json -o runs") == 0
    said = capsys.readouterr().out
    assert "4 twins beside it" in said
    labels = ["two", *(f"two-cascade-{stage}" for stage in ("11", "6", "3", "0"))]
    assert [r["model"] for r in json.loads(said.splitlines()[-1])["runs"]] == labels
    # Two batches of twenty, once for all; each model's pilot before them.
    assert read.count(20) == 2
    assert run(place, f"{LINE} --control random --seed 3 -o twin") == 0
    whole, last = (Run.load(place / f) for f in ("twin/two-random", "runs/two-cascade-0"))
    assert whole.samples["l1"].equals(last.samples["l1"])
    assert whole.provenance["weights"] == last.provenance["weights"]
    assert whole.provenance["load_model"]["weights"] == "random:seed=3"


def test_every_kind_of_weights_has_its_own_twins(checkpoint):
    assert run(checkpoint.parent, f"{LINE} --weights raw,ema --control random -o kinds") == 0
    found = sorted(p.name for p in (checkpoint.parent / "kinds").iterdir())
    assert found == ["two-ema", "two-ema-random", "two-raw", "two-raw-random"]


def test_one_step_of_a_cascade_is_a_kind_of_weights(checkpoint):
    assert run(checkpoint.parent, f"{LINE} --weights ema,cascade:until=6,seed=2,of=ema -o one") == 0
    found = Run.load(checkpoint.parent / "one" / "two-cascade-6")
    assert found.label == "two-cascade-6"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--control shuffled", ["'shuffled'", "cascade", "random"]),
        ("--control random --weights random", ["--control", "untrained"]),
        ("--control random --weights raw,random", ["--control", "untrained"]),
    ],
)
def test_a_control_that_cannot_be_made_is_one_line(checkpoint, words, said, capsys):
    assert run(checkpoint.parent, f"{LINE} {words}") == 2
    error = capsys.readouterr().err
    assert [w for w in said if w not in error] == []
    assert error.count("\n") == 1
