"""Methods are found by name when first asked for, take typed parameters, and plugins are like ours."""

import sys
from dataclasses import dataclass, field

import pytest
import torch

import gradlens as gl
from gradlens.core.names import snake_case
from gradlens.core.registry import KINDS, Registry, edge_map, load_plugin, objective, typed_parameters
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe

PLUGIN = """
from dataclasses import dataclass
from gradlens.core.registry import analyzer, edge_map, objective
from gradlens.analyzers import Analyzer

@objective
def doubled_logit(logits, target):
    return 2 * logits.gather(1, target[:, None])[:, 0]

@edge_map
def flat(images, level: float = 0.0):
    return images[:, :1] * 0 + level

@analyzer
@dataclass
class HalfLoss(Analyzer):
    factor: float = 0.5

    def measure(self, probe):
        return {"half_loss": self.factor * probe.loss}
"""


@pytest.fixture(autouse=True)
def _nothing_stays(no_plugin_stays):
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("gradlens_plugin_", "fruits")):
            del sys.modules[name]


@pytest.fixture
def fruits(tmp_path, monkeypatch):
    """A package with a registry and one method in a file of its own."""
    package = tmp_path / "fruits"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from gradlens.core.registry import Registry\nfruit = Registry('fruit', 'fruits')\n"
    )
    (package / "apple.py").write_text("from fruits import fruit\n\n@fruit\ndef apple(): return 'red'\n")
    monkeypatch.syspath_prepend(tmp_path)
    return package


@dataclass
class Settings:
    objective: str = "loss"
    sigma: float = 1.0
    count: int = 8
    null: bool = True
    size: float | None = None
    _bank: dict = field(default_factory=dict, init=False)


# --- typed parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"sigma": "1/4"}, {"sigma": 0.25}),
        ({"count": "3", "null": "False"}, {"count": 3, "null": False}),
        ({"size": "None"}, {"size": None}),
        ({"size": "2"}, {"size": 2.0}),
        ({"objective": "true_logit"}, {"objective": "true_logit"}),
    ],
)
def test_parameters_take_the_annotated_types(text, expected):
    found = typed_parameters(Settings, text, "analyzer 'settings'")
    assert found == expected
    assert [type(v) for v in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"sigma": "wide"}, "analyzer 'settings': sigma=wide is not a float"),
        ({"sigma": "1/0"}, "sigma=1/0 is not a float"),
        ({"count": "1.5"}, "count=1.5 is not a int"),
        ({"null": "yes"}, "null=yes is not a bool"),
        ({"sigmas": "1"}, "unknown parameter of analyzer 'settings' 'sigmas'; did you mean sigma"),
        ({"_bank": "1"}, "unknown parameter"),
    ],
)
def test_wrong_parameters_are_named(text, message):
    with pytest.raises(UserError, match=message):
        typed_parameters(Settings, text, "analyzer 'settings'")


def test_built_function_carries_its_parameters():
    image = torch.rand(2, 3, 24, 24)
    assert torch.equal(edge_map.build("canny:sigma=2")(image), edge_map["canny"](image, sigma=2.0))
    assert torch.equal(edge_map.build("canny:sigma=2")(image, sigma=0.7), edge_map["canny"](image, sigma=0.7))
    assert edge_map.build("canny") is edge_map["canny"]


def test_built_class_is_an_instance():
    assert KINDS["analyzers"].build("sample_asymmetry:objective=margin").objective == "margin"


# --- registries


@pytest.mark.parametrize("kind", [kind for kind, registry in KINDS.items() if registry])
def test_every_method_is_there_under_its_own_name(kind):
    registry = gl.methods(kind)
    assert len(registry) == len(list(registry)) > 0
    for name in registry:
        assert snake_case(registry[name].__name__) == name
        assert registry[name].__doc__


@pytest.mark.parametrize("kind", [kind for kind, registry in KINDS.items() if registry])
def test_unknown_name_offers_the_nearest(kind):
    name = next(iter(gl.methods(kind)))
    with pytest.raises(UserError, match=f"unknown {gl.methods(kind).kind} '{name}x'; did you mean .*{name}"):
        gl.methods(kind)[f"{name}x"]


def test_unknown_name_near_nothing_lists_all():
    with pytest.raises(UserError, match="there are: canny, contour_energy, sobel"):
        edge_map["zzzz"]


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match="did you mean attacks"):
        gl.methods("attack")


def test_new_file_is_found_when_first_asked(fruits):
    from fruits import fruit

    assert isinstance(fruit, Registry)
    assert "fruits.apple" not in sys.modules
    assert list(fruit) == ["apple"]
    assert fruit.build("apple")() == "red"


def test_two_files_may_not_share_a_name(fruits):
    (fruits / "pear.py").write_text("from fruits import fruit\n\n@fruit\ndef apple(): return 'green'\n")
    from fruits import fruit

    with pytest.raises(UserError, match=r"fruit 'apple' is defined in fruits.apple and again in fruits.pear"):
        list(fruit)


def test_name_of_a_method_of_ours_is_taken():
    with pytest.raises(UserError, match="objective 'loss' is defined in gradlens"):

        @objective
        def loss(logits, target): ...

    assert objective["loss"].__module__ == "gradlens.probes.objectives.logits"


def test_method_may_be_defined_again_in_its_own_file():
    for answer in (1, 2):

        @objective
        def anew(logits, target, answer=answer):
            return answer

    assert objective["anew"](None, None) == 2


# --- plugins


def test_plugins_methods_are_like_ours(tmp_path, cnn, batch):
    (tmp_path / "mine.py").write_text(PLUGIN)
    load_plugin(str(tmp_path / "mine.py"))
    probe = Probe(cnn, batch)
    torch.testing.assert_close(probe.gradient("doubled_logit"), 2 * probe.gradient("true_logit"))
    assert probe.edges("flat", level=0.3).unique() == 0.3
    measured = gl.methods("analyzers").build("half_loss:factor=1/4").measure(probe)
    assert torch.equal(measured["half_loss"], probe.loss / 4)


def test_plugin_may_be_loaded_again(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    for _ in range(2):
        load_plugin(str(tmp_path / "mine.py"))
    assert "doubled_logit" in objective


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "failed to import: ModuleNotFoundError"),
        ("def (", "failed to import: SyntaxError"),
        ("1 / 0", "failed to import: ZeroDivisionError"),
        ("import sys; sys.exit(3)", "failed to import: SystemExit"),
        (
            "from gradlens.core.registry import edge_map\n@edge_map\ndef canny(images): ...",
            "edge map 'canny' is defined in",
        ),
    ],
)
def test_failing_plugin_is_the_users_mistake(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=message):
        load_plugin(str(tmp_path / "mine.py"))


def test_plugin_must_be_a_python_file(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UserError, match=r"ends in \.py"):
        load_plugin(str(tmp_path / "mine.txt"))
    with pytest.raises(UserError, match="is not a file"):
        load_plugin(str(tmp_path))
