"""Every mistake on the command line is one line with exit code 2, and leaves nothing that looks whole."""

import subprocess
import sys

import pytest
from commands import run

MISTAKES = {
    "analyse good.pt": ["unknown command 'analyse'", "analyze"],
    "analyze good.pt --data digits --lmit 3": ["--lmit", "--limit"],
    "analyze good.pt --data digits --limit four": ["--limit", "four"],
    "analyze good.pt --data digits --limit": ["--limit has no value", "a whole number"],
    "analyze good.pt --data digits --limit=four": ["--limit four", "a whole number"],
    "analyze good.pt --data digits -b x -o run": ["--batch-size x; wanted a whole number"],
    "analyze good.pt --data digits --crop-pct x": ["--crop-pct x; wanted a number"],
    "analyze good.pt --data digits --mean .5,.5,.5": ["--mean .5,.5,.5", "a list of numbers, with spaces between"],
    "train --epochs one": ["--epochs one; wanted a whole number"],
    "figure edge_overlay run": ["needs --out: The file to write"],
    "analyze good.pt": ["needs --data: digits, shapes or photos"],
    "analyze --data digits": ["checkpoint"],
    "analyze nowhere.pt --data digits": ["nowhere.pt", "timm:NAME"],
    "analyze empty.pt --data digits": ["0 bytes"],
    "analyze truncated.pt --data digits": ["truncated"],
    "analyze random.pt --data digits": ["damaged"],
    "analyze nan.pt --data digits": ["not finite"],
    "analyze bare.pt --data digits": ["--arch"],
    "analyze bare.pt --arch digits_cnn --data digits": ["--mean"],
    "analyze missing.pt --arch digits_cnn --data digits": [
        "1 keys missing",
        "0.weight",
        "the whole model.state_dict()",
    ],
    "analyze good.pt --arch resnet18 --data digits": ["keys missing", "they fit --arch digits_cnn"],
    "analyze good.pt --arch resnet1 --data digits": ["resnet18"],
    "analyze good.pt --num-classes 7 --data digits": ["(10, 1024)", "(7, 1024)", "give --num-classes 10"],
    "analyze good.pt --arch-kwargs width=8,num_classes=4 --data digits": ["they fit --arch digits_cnn"],
    "analyze good.pt --weights ema --data digits": ["no ema weights"],
    "analyze good.pt --weights best --data digits": ["unknown weights in good.pt: 'best'"],
    "analyze good.pt --activation gleu --data digits": ["gelu"],
    "analyze builders.py:bare --data digits": ["--mean"],
    "analyze builders.py:two_outputs --normalized --data digits": ["tuple", "logits (B, K)"],
    "analyze builders.py:nothing --normalized --data digits": ["builders.py:nothing"],
    "analyze good.pt --data digts": ["digits"],
    "analyze good.pt --data digits --data-dir nowhere": ["--data-dir nowhere does not exist"],
    "analyze good.pt --data cats --data-dir no_images": ["there is no no_images/cats"],
    "analyze good.pt --data no/where": ["there is no no/where"],
    "analyze good.pt --data digits --expect-top1 .9": ["top-1 of .9", "0.9 is 90"],
    "analyze good.pt --data digits --limit 60 --strict --expect-top1 60": ["60 ± 1 %", "--strict", "chance is 10 %"],
    "analyze good.pt --data digits --split vall": ["val"],
    "analyze good.pt --data no_images": ["no image"],
    "analyze good.pt --data builders.py": ["is a file"],
    "analyze good.pt --data digits --limit 0": ["limit of 0"],
    "analyze good.pt --data digits --analyzers edge_concentrations": ["edge_concentration"],
    "analyze good.pt --data digits --analyzers edge_concentration:sgma=2": ["sigma"],
    "analyze good.pt --data digits --analyzers edge_concentration:sigma=two": ["sigma=two"],
    "analyze good.pt --data digits --objective marign": ["margin"],
    "analyze good.pt --data digits --precision float16": ["underflows"],
    "analyze good.pt --data digits --device tpu": ["--device tpu", "there is: cpu"],
    "analyze good.pt --data digits --device cuda:99": ["--device cuda:99", "there is: cpu"],
    "analyze good.pt --data digits --plugin nowhere.py": ["nowhere.py"],
    "analyze good.pt --data digits --limit 20 -o run": ["run", "another"],
    "analyze good.pt --data digits --limit 20 -o good.pt": ["cannot write"],
    "analyze good.pt good.pt --data digits": ["two checkpoints"],
    "analyze good.pt --data digits other.pt": ["'other.pt' stands behind a flag", "before the flags"],
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
    # Of the parser's types and of torch's devices nobody should hear.
    for word in ("instantiated", "invalid literal", "{None}", "(default: None)", "privateuse"):
        assert word not in said


def test_a_mistake_leaves_nothing_that_looks_whole(place):
    for line in (
        "analyze builders.py:two_outputs --normalized --data digits -o half",
        "analyze nan.pt --data digits -o half",
    ):
        assert run(place, line) == 2
        assert not (place / "half" / "run.json").exists()


def test_help_does_not_import_torch():
    code = "import sys; from gradlens.cli.main import main; main(['--help']); main(['analyze', '--help'])"
    code += "; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "False"
    assert "--data" in said
