"""A recipe as a file: every mistake in it is one line, and flags go before it."""

from __future__ import annotations

import pytest
from trainings import WORDS, weights

from gradlens import UserError
from gradlens.cli.main import main
from gradlens.training.config import read_config


def test_flags_go_before_the_file_even_where_they_say_the_default(tmp_path, capsys):
    file = tmp_path / "preset.toml"
    file.write_text('data = "digits"\narch = "digits_cnn:width=4"\nseed = 3\nlr = 1\neval_eps = 0\n')
    out = tmp_path / "run"
    words = ["train", "--config", str(file), "--seed", "0", "--lr", "1e-3", "-o", str(out), *WORDS[5:]]
    assert main(words) == 0
    kept = weights(out / "last.pt")["training"]["config"]
    assert (kept["seed"], kept["lr"], kept["eval_eps"]) == (0, 1e-3, 0)
    assert main(words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = ", "is not TOML"),
        ('data = "digits"\nepoch = 3', "unknown key of"),
        ('data = "digits"\narch = "resnet50"\nepochs = "3"', "epochs = '3'; wanted a whole number"),
        ('data = "digits"\narch = "resnet50"\nclip = true', "clip = True; wanted a number"),
        ('arch = "resnet50"', "no data is given"),
    ],
)
def test_wrong_presets_are_one_line(tmp_path, text, said):
    file = tmp_path / "preset.toml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
