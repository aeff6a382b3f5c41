"""The commands as a user types them, in process: what they write, and every mistake in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradlens import Preprocess
from gradlens.cli.main import main
from gradlens.models import save_checkpoint
from gradlens.models._zoo import digits_cnn

BUILDERS = """
import torch
from torch import nn

class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

def two_outputs():
    return TwoOutputs()

def bare():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

class Constant(nn.Module):
    def forward(self, x):
        return 0 * x.mean((1, 2, 3))[:, None] + torch.tensor([[1.0, 0.0]]).repeat(len(x), 5)

class NotFinite(nn.Module):
    def forward(self, x):
        return (x.sum((1, 2, 3)) - x.sum((1, 2, 3))).sqrt()[:, None] * torch.ones(1, 10)

def constant():
    return Constant()

def not_finite():
    return NotFinite()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a good checkpoint, bad ones, and a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    described = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "activation": "gelu", "num_classes": 10}
    state = digits_cnn().state_dict()
    save_checkpoint(folder / "good.pt", state, arch="digits_cnn", preprocess=Preprocess(32, 1.0), **described)
    whole = (folder / "good.pt").read_bytes()
    (folder / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "random.pt").write_bytes(np.random.default_rng(0).bytes(4096))
    torch.save(state, folder / "bare.pt")
    torch.save({k: v for k, v in state.items() if k != "0.weight"}, folder / "missing.pt")
    save_checkpoint(folder / "nan.pt", {k: v * torch.nan for k, v in state.items()}, arch="digits_cnn", **described)
    (folder / "builders.py").write_text(BUILDERS)
    (folder / "no_images").mkdir()
    assert run(folder, "analyze good.pt --data digits --limit 30 -o run") == 0
    return folder


def run(folder: Path, line: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "120")
        return main(line.split())


MISTAKES = {
    "analyse good.pt": ["unknown command 'analyse'", "analyze"],
    "analyze good.pt --data digits --lmit 3": ["--lmit", "--limit"],
    "analyze good.pt --data digits --limit four": ["--limit", "four"],
    "analyze good.pt": ["--data"],
    "analyze --data digits": ["checkpoint"],
    "analyze nowhere.pt --data digits": ["nowhere.pt", "timm:NAME"],
    "analyze empty.pt --data digits": ["0 bytes"],
    "analyze truncated.pt --data digits": ["truncated"],
    "analyze random.pt --data digits": ["damaged"],
    "analyze nan.pt --data digits": ["not finite"],
    "analyze bare.pt --data digits": ["--arch"],
    "analyze bare.pt --arch digits_cnn --data digits": ["--mean"],
    "analyze missing.pt --arch digits_cnn --data digits": ["1 keys missing", "0.weight"],
    "analyze good.pt --arch resnet18 --data digits": ["keys missing", "--arch"],
    "analyze good.pt --arch resnet1 --data digits": ["resnet18"],
    "analyze good.pt --num-classes 7 --data digits": ["(10, 1024)", "(7, 1024)"],
    "analyze good.pt --weights ema --data digits": ["no ema weights"],
    "analyze good.pt --weights best --data digits": ["unknown weights 'best'"],
    "analyze good.pt --activation gleu --data digits": ["gelu"],
    "analyze builders.py:bare --data digits": ["--mean"],
    "analyze builders.py:two_outputs --normalized --data digits": ["tuple", "logits (B, K)"],
    "analyze builders.py:nothing --normalized --data digits": ["builders.py:nothing"],
    "analyze good.pt --data digts": ["digits"],
    "analyze good.pt --data digits --split vall": ["val"],
    "analyze good.pt --data no_images": ["no image"],
    "analyze good.pt --data builders.py": ["is a file"],
    "analyze good.pt --data digits --limit 0": ["limit of 0"],
    "analyze good.pt --data digits --analyzers edge_concentrations": ["edge_concentration"],
    "analyze good.pt --data digits --analyzers edge_concentration:sgma=2": ["sigma"],
    "analyze good.pt --data digits --analyzers edge_concentration:sigma=two": ["sigma=two"],
    "analyze good.pt --data digits --objective marign": ["margin"],
    "analyze good.pt --data digits --precision float16": ["underflows"],
    "analyze good.pt --data digits --device tpu": ["tpu"],
    "analyze good.pt --data digits --plugin nowhere.py": ["nowhere.py"],
    "analyze good.pt --data digits --limit 20 -o run": ["run", "another"],
    "analyze good.pt --data digits --limit 20 -o good.pt": ["cannot write"],
    "analyze good.pt good.pt --data digits": ["two checkpoints"],
    "figure edge_overlays run -o x.pdf": ["edge_overlay"],
    "figure edge_overlay run -o x.tex": [".pdf"],
    "figure edge_overlay no_images -o x.pdf": ["holds no run"],
    "figure edge_overlay run -o x.pdf --venue cvrp": ["cvpr"],
    "figure edge_overlay run -o x.pdf --where l1>": ["cannot select"],
    "figure gradient_gallery:scale=mine run -o x.pdf": ["shared"],
    "figure gradient_gallery:scal=image run -o x.pdf": ["scale"],
    "figure edge_overlay -o x.pdf": ["needs a run"],
    "examples good.pt --data digits --images 3,x -o kept": ["3,17,42"],
    "examples good.pt --data digits --images 3,9999 -o kept": ["9999"],
    "info nowhere.pt": ["nowhere.pt"],
    "list analyzer": ["analyzers"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2(line, place, capsys):
    assert run(place, line) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("gradlens: ")
    assert "\n" not in said
    for words in MISTAKES[line]:
        assert words in said


def test_a_mistake_leaves_nothing_that_looks_whole(place):
    for line in (
        "analyze builders.py:two_outputs --normalized --data digits -o half",
        "analyze nan.pt --data digits -o half",
    ):
        assert run(place, line) == 2
        assert not (place / "half" / "run.json").exists()


def test_a_run_folder_holds_what_the_readme_says(place):
    names = {p.name for p in (place / "run").iterdir()}
    assert names == {"samples.parquet", "summary.json", "summary.csv", "arrays.npz", "examples", "run.json"}


def test_json_is_the_last_line(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 20 --json -o json_run") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["runs"][0]["images"] == 20
    assert result["runs"][0]["folder"] == "json_run"


def test_several_checkpoints_make_a_folder_each_and_a_column_each(place, capsys):
    (place / "twin.pt").write_bytes((place / "good.pt").read_bytes())
    assert run(place, "analyze good.pt twin.pt --data digits --limit 20 -o both") == 0
    said = capsys.readouterr().out
    assert (place / "both" / "good" / "run.json").exists()
    assert (place / "both" / "twin" / "run.json").exists()
    assert "good" in said
    assert "twin" in said


def test_flags_may_stand_before_the_checkpoint(place):
    line = "analyze --mean .5 .5 .5 --std .5 .5 .5 --limit 20 -b 7 -j 0 --data digits good.pt -o flags_first"
    assert run(place, line) == 0


def test_a_bare_state_dict_with_flags_equals_our_checkpoint(place, capsys):
    line = "analyze bare.pt --arch digits_cnn --mean .5 .5 .5 --std .5 .5 .5 --data digits --limit 30 --json -o bare"
    assert run(place, line) == 0
    bare = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"][0]
    ours = json.loads((place / "run" / "summary.json").read_text())
    assert bare["l1_mean"] == pytest.approx(ours["l1_mean"], rel=1e-6)


@pytest.mark.parametrize(("model", "flag"), [("constant", "zero"), ("not_finite", "not_finite")])
def test_useless_gradients_are_kept_flagged_and_counted(model, flag, place, capsys):
    line = f"analyze builders.py:{model} --normalized --data digits --limit 20 --json -o {model}"
    assert run(place, line) == 0
    said = capsys.readouterr().out
    summary = json.loads(said.splitlines()[-1])["runs"][0]
    assert summary["images"] == 20
    assert summary[f"gradients_{flag}"] == 20
    assert "gradient_flag" in said


def test_an_untrained_model_is_warned_about(place, capsys):
    assert run(place, "analyze good.pt --weights random --data digits --limit 40 -o untrained") == 0
    assert "is at chance" in capsys.readouterr().out


def test_a_truncated_jpeg_among_good_ones_is_skipped_counted_and_listed(place, capsys):
    rng = np.random.default_rng(0)
    for i in range(120):
        folder = place / "pictures" / f"c{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / f"{i:03d}.jpg")
    bad = place / "pictures" / "c0" / "000.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    assert run(place, "analyze good.pt --data pictures -o with_bad") == 0
    assert "1 images could not be read" in capsys.readouterr().out
    provenance = json.loads((place / "with_bad" / "run.json").read_text())
    assert "000.jpg" in next(iter(provenance["unreadable"].values()))
    for i in range(2, 8, 2):
        (place / "pictures" / "c0" / f"{i:03d}.jpg").write_bytes(b"not a picture")
    assert run(place, "analyze good.pt --data pictures -o too_bad") == 2
    assert "over 1 %" in capsys.readouterr().err
    assert not (place / "too_bad" / "run.json").exists()


def test_examples_keep_the_same_images_for_a_gallery(place):
    assert run(place, "examples good.pt --data digits --images 3,17,9 -o kept") == 0
    with np.load(place / "kept" / "examples" / "loss.npz") as kept:
        assert kept["index"].tolist() == [3, 17, 9]
    assert run(place, "figure gradient_gallery kept -o gallery.pdf --labels mine") == 0
    assert (place / "gallery.pdf").read_bytes().startswith(b"%PDF")


def test_a_plugin_adds_an_analyzer_by_name(place):
    (place / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from gradlens.core.registry import analyzer\n"
        "from gradlens.analyzers import Analyzer\n"
        "@analyzer\n@dataclass(frozen=True)\nclass SignedMean(Analyzer):\n"
        "    factor: float = 1.0\n"
        "    def measure(self, probe):\n"
        "        return {'signed_mean': self.factor * probe.gradient().mean((1, 2, 3))}\n"
    )
    line = "analyze good.pt --data digits --limit 20 --plugin mine.py --analyzers signed_mean:factor=1/2 -o mine"
    try:
        assert run(place, line) == 0
    finally:
        from gradlens.core.registry import analyzer

        analyzer._methods.pop("signed_mean", None)
    import gradlens as gl

    assert "signed_mean[factor=0.5]" in gl.Run.load(place / "mine").samples


def test_info_tells_a_files_weights_and_what_is_missing(place, capsys):
    assert run(place, "info good.pt") == 0
    said = capsys.readouterr().out
    assert "gelu" in said
    assert "3 sites" in said
    assert run(place, "info bare.pt") == 0
    assert "--arch" in capsys.readouterr().out


def test_list_names_every_kind(place, capsys):
    assert run(place, "list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("pgd", "canny", "edge_overlay", "sampled_logit", "class_selectivity"))


def test_help_does_not_import_torch():
    code = "import sys; from gradlens.cli.main import main; main(['--help']); main(['analyze', '--help'])"
    code += "; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "False"
    assert "--data" in said


MANIFEST = """
[second]
path = "good.pt"
weights = "random"
order = 2

[first]
path = "good.pt"
order = 1
group = "baselines"
color = "#0072B2"
"""


def test_a_manifest_names_orders_and_loads_the_models(place, capsys):
    (place / "models.toml").write_text(MANIFEST)
    assert run(place, "analyze --models models.toml --data digits --limit 30 --json -o study") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    assert [(r["model"], r["folder"]) for r in result] == [("first", "study/first"), ("second", "study/second")]
    provenance = json.loads((place / "study" / "first" / "run.json").read_text())
    assert provenance["model"]["display"] == {"label": "first", "group": "baselines", "order": 1, "color": "#0072B2"}
    assert json.loads((place / "run" / "summary.json").read_text())["l1_mean"] == result[0]["l1_mean"]


def test_a_manifest_orders_and_colours_a_figure_and_is_explained(place, capsys):
    (place / "models.toml").write_text(MANIFEST)
    assert run(place, "analyze --models models.toml --data digits --limit 30 -o shown") == 0
    assert run(place, "figure edge_concentration shown/second shown/first --models models.toml -o shown.svg") == 0
    drawn = (place / "shown.svg").read_text()
    assert drawn.index(">first<") < drawn.index(">second<")
    assert run(place, "figure edge_concentration run --models models.toml -o shown.svg") == 2
    assert "'good'" in capsys.readouterr().err
    assert run(place, "info --models models.toml") == 0
    assert capsys.readouterr().out.count("digits_cnn") >= 2


def test_several_kinds_of_weights_are_measured_from_one_decode(place, monkeypatch):
    from gradlens.data import Data

    read = []
    original = Data.read
    monkeypatch.setattr(Data, "read", lambda self, indices: read.append(len(indices)) or original(self, indices))
    assert run(place, "analyze good.pt --weights raw,random --data digits --limit 40 -b 20 --examples 0 -o kinds") == 0
    assert (place / "kinds" / "good-raw" / "run.json").exists()
    assert (place / "kinds" / "good-random" / "run.json").exists()
    # Two batches of twenty, once; each model's pilot before them.
    assert read.count(20) == 2


def test_an_unexpected_accuracy_is_said_before_the_run_and_stops_a_strict_one(place, caplog, capsys):
    line = "analyze good.pt --data digits --limit 60 --expect-top1 99±1"
    assert run(place, f"{line} -o expected") == 0
    assert "probable causes" in caplog.text
    assert run(place, f"{line} --strict -o strict") == 2
    assert "probable causes" in capsys.readouterr().err
    assert not (place / "strict" / "run.json").exists()
    assert run(place, "analyze good.pt --data digits --expect-top1 high -o bad") == 2


def test_the_doctor_explains_the_data(place, capsys):
    assert run(place, "doctor --data digits") == 0
    assert "297 images" in capsys.readouterr().out


def test_a_protocol_fixes_preprocessing_and_measures_and_says_what_is_unknown(place, capsys):
    assert run(place, "analyze good.pt --data digits --limit 8 -b 4 --protocol robustbench -o published") == 0
    assert "Not stated there" in " ".join(capsys.readouterr().out.split())
    provenance = json.loads((place / "published" / "run.json").read_text())
    assert provenance["preprocess"]["size"] == 224
    assert provenance["analyzers"] == ["sample_asymmetry", "robustness"]
    assert provenance["protocol"]["name"] == "robustbench"
    assert "attack=pgd,norm=linf,eps=4/255,steps=10" in provenance["protocol"]["analyzers"]
    assert run(place, "analyze good.pt --data digits --protocol robustbnech") == 2
