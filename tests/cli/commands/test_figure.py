"""``gradlens figure``: files, flags, and one line for what it cannot draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import models

from gradlens import Run
from gradlens.cli.main import main

NORMS = "gradient_norm_distribution"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("runs")
    return [str(run.save(root / run.label)) for run in models(3, images=100)]


def refused(capsys, *words: object) -> str:
    """The one line of a command that does not draw."""
    assert main(["figure", *map(str, words)]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "Traceback" not in said
    return said


def test_numbers_and_caption_stand_beside_the_figure(folders, tmp_path, capsys):
    out, data = tmp_path / "sub" / "fig.pdf", tmp_path / "fig.csv"
    assert main(["figure", NORMS, *folders, "-o", str(out), "--data", str(data), "--caption", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said == {"figure": str(out), "data": str(data), "caption": str(out.with_suffix(".txt"))}
    caption = out.with_suffix(".txt").read_text()
    for part in ("Models: natural, robust, model-2; data: synthetic.", "n = 100 images each.", "95 % intervals"):
        assert part in caption.replace("\N{NO-BREAK SPACE}", " ")
    table = pd.read_csv(data)
    series = table[(table["series"] == "robust") & (table["kind"] == "bin")]
    l1 = Run.load(folders[1]).samples["l1"]
    counts = np.histogram(l1, [*series["low"], series["high"].iloc[-1]])[0]
    np.testing.assert_allclose(series["y"], counts / counts.max())
    assert set(series["ylabel"]) == {"images (peak = 1)"}


def test_labels_order_and_select_reach_the_figure(folders, tmp_path):
    words = ["--labels", "one,two,three", "--order", "three", "--select", "one,three"]
    data = tmp_path / "fig.csv"
    assert main(["figure", NORMS, *folders, "-o", str(tmp_path / "a.svg"), *words, "--data", str(data)]) == 0
    series = pd.read_csv(data)["series"].dropna()
    assert list(dict.fromkeys(series)) == ["three", "one"]


def test_a_condition_narrows_the_images_and_is_in_the_caption(folders, tmp_path):
    out = tmp_path / "a.png"
    assert main(["figure", NORMS, folders[0], "-o", str(out), "--where", "correct", "--caption"]) == 0
    n = int(Run.load(folders[0]).samples["correct"].sum())
    caption = out.with_suffix(".txt").read_text()
    assert f"n = {n} images." in caption
    assert "Only images with correct." in caption


def test_a_condition_on_totals_is_refused(folders, tmp_path, capsys):
    said = refused(capsys, "edge_profile", folders[0], "-o", tmp_path / "a.pdf", "--where", "correct")
    assert "total over all images" in said


def test_a_manifest_gives_order_and_colour_but_labels_follow_the_folders(folders, tmp_path):
    manifest = tmp_path / "models.toml"
    manifest.write_text('[robust]\npath = "r"\ncolor = "#123456"\n[natural]\npath = "n"\n')
    out = tmp_path / "a.svg"
    words = ["--models", str(manifest), "--labels", "first,second", "--data", str(tmp_path / "a.csv")]
    assert main(["figure", NORMS, *folders[:2], "-o", str(out), *words]) == 0
    series = pd.read_csv(tmp_path / "a.csv")["series"].dropna()
    assert list(dict.fromkeys(series)) == ["second", "first"]
    assert "#123456" in out.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([NORMS, "RUN", "-o", "fig.docx"], ".pdf, .png or .svg"),
        ([NORMS, "RUN", "-o", "fig"], ".pdf, .png or .svg"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--data", "fig.xlsx"], ".csv"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--venue", "nips"], "unknown venue 'nips'"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--columns", "3"], "3 columns"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--labels", "a,b"], "2 labels"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--select", "robust"], "unknown run 'robust'"),
        ([NORMS, "RUN", "RUN", "-o", "fig.pdf", "--labels", "a,a"], "two runs are to be called 'a'"),
        ([NORMS, "-o", "fig.pdf"], "needs a run"),
        ([NORMS + ":colour=red", "RUN", "-o", "fig.pdf"], "colour"),
        (["gradient_gallary", "RUN", "-o", "fig.pdf"], "did you mean gradient_gallery"),
        ([NORMS, "nowhere", "-o", "fig.pdf"], "nowhere holds no run"),
        ([NORMS, "RUN", "-o", "fig.pdf", "--where", "lossy > 1"], "cannot select"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(words, said, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *(folders[0] if word == "RUN" else word for word in words))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_suffix_is_refused_before_anything_is_read(tmp_path, capsys):
    assert ".pdf" in refused(capsys, NORMS, "nowhere", "-o", tmp_path / "fig.docx")


def test_runs_of_another_contract_are_refused(folders, tmp_path, capsys):
    other = Run.load(folders[1])
    other.provenance["data_fingerprint"] = "another"
    other.save(tmp_path / "other")
    said = refused(capsys, NORMS, folders[0], tmp_path / "other", "-o", tmp_path / "fig.pdf")
    assert "cannot be compared" in said


def test_damaged_and_unfinished_runs_are_refused(folders, tmp_path, capsys):
    run = Run.load(folders[0])
    for name, damage, said in [
        ("unfinished", lambda f: ((f / "run.json").unlink(), (f / "parts").mkdir()), "unfinished"),
        ("truncated", lambda f: (f / "samples.parquet").write_bytes(b"PAR1"), "damaged"),
        ("version", lambda f: _set_format(f / "run.json", 99), "another version"),
        ("edited", lambda f: run.samples.head(7).to_parquet(f / "samples.parquet"), "changed"),
    ]:
        folder = run.save(tmp_path / name)
        damage(folder)
        assert said in refused(capsys, NORMS, folder, "-o", tmp_path / "fig.pdf"), name


def test_a_missing_column_names_the_whole_command(folders, tmp_path, capsys):
    run = Run.load(folders[0])
    run.samples = run.samples.drop(columns="l1")
    run.provenance |= {
        "load_model": {"spec": "my ckpt.pt", "weights": "raw", "normalized": True, "mean": None},
        "load_data": {"spec": "digits", "split": "test", "root": "/data"},
        "analyzers": ["edge_concentration@margin[sigma=2]", "channel_asymmetry"],
    }
    run.save(tmp_path / "run")
    said = refused(capsys, NORMS, tmp_path / "run", "-o", tmp_path / "fig.pdf")
    assert said.endswith(
        "gradlens analyze 'my ckpt.pt' --weights raw --normalized --data digits --split test --data-dir /data "
        "--analyzers edge_concentration:objective=margin,sigma=2,channel_asymmetry,sample_asymmetry"
    )


def test_a_column_of_text_is_refused(folders, tmp_path, capsys):
    run = Run.load(folders[0])
    run.samples["l1"] = "large"
    run.save(tmp_path / "run")
    assert "holds text" in refused(capsys, NORMS, tmp_path / "run", "-o", tmp_path / "fig.pdf")


def test_an_output_that_cannot_be_written_is_refused(folders, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write" in refused(capsys, NORMS, folders[0], "-o", tmp_path / "file" / "fig.pdf")


def _set_format(file: Path, number: int) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))


def test_type_height_note_and_scale_are_flags(folders, tmp_path, capsys):
    plain, small = tmp_path / "plain.svg", tmp_path / "small.svg"
    assert main(["figure", "gradient_gallery", *folders, "-o", str(plain)]) == 0
    flags = ["--no-note", "--font-size", "6", "--height", "2", "--shared-scale"]
    assert main(["figure", "gradient_gallery", *folders, "-o", str(small), *flags]) == 0
    assert "on its own scale" in " ".join(plain.read_text().split())
    assert "gray is zero" not in small.read_text()
    assert 'height="144pt"' in small.read_text()
    capsys.readouterr()
    assert "scale" in refused(capsys, "edge_profile", *folders, "-o", tmp_path / "x.pdf", "--shared-scale")
