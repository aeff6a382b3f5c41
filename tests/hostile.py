"""A corpus of hostile files, made anew each time, and the command lines that meet them; run as a program on them all.

Each case is a file or folder that somebody else gives: a checkpoint, a configuration, data, a list, a manifest. What
would run code writes the file CANARY.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import resource
import struct
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hostile_data import data, lists

from gradlens.cli.main import main
from gradlens.models._zoo import digits_cnn

CANARY = "canary"
GOOD = {"0.weight": torch.randn(10, 3072) / 99, "0.bias": torch.zeros(10)}
NET = "import torch\ndef net(**given): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 10))\n"
ANALYZE = "--data digits --limit 8 -o out"
Case = tuple[str, list[str]]


class Bomb:
    """Unpickled, it writes the canary."""

    def __reduce__(self) -> Any:
        return (exec, (f"open({CANARY!r}, 'w')",))


def own(**said: Any) -> dict[str, Any]:
    """A checkpoint of gradlens that is sound but for these things that it says of itself."""
    sound = {"gradlens": 1, "arch": "digits_cnn", "arch_kwargs": {"width": 4}, "mean": [0.5] * 3, "std": [0.5] * 3}
    return {**sound, "state_dict": digits_cnn(width=4).state_dict(), **said}


def _nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


OPENERS = {
    "checkpoint_path": "bomb.pt",
    "pretrained": True,
    "pretrained_cfg": {"file": "bomb.pt"},
    "pretrained_cfg_overlay": {"url": "http://localhost:9/x"},
    "cache_dir": "cache",
    "weights": "DEFAULT",
    "weights_backbone": "DEFAULT",
    "model_dir": "x",
}
STATED = {
    "mean_number": {"mean": 0.5},
    "mean_nan": {"mean": [math.nan, 0.5, 0.5]},
    "mean_text": {"mean": "0.5"},
    "std_infinite": {"std": [math.inf] * 3},
    "std_negative": {"std": [-1.0] * 3},
    "std_tensor": {"std": torch.zeros(3)},
    "classes_negative": {"num_classes": -4},
    "classes_many": {"num_classes": 900_000},
    "classes_text": {"num_classes": "ten"},
    "classes_true": {"num_classes": True},
    "arch_number": {"arch": 3},
    "arch_list": {"arch": ["resnet18"]},
    "arch_hub": {"arch": "hf-hub:timm/resnet18.a1_in1k"},
    "arch_local": {"arch": "local-dir:somewhere"},
    "arch_address": {"arch": "https://localhost:9/net"},
    "arch_path": {"arch": "../net/resnet18"},
    "arch_code": {"arch": "net.py:net"},
    "arch_escape": {"arch": "\x1b[2J\x1b]0;owned\x07resnet\nsecond line"},
    "arch_bidi": {"arch": "a\u202eb[red]c"},
    "activation_list": {"activation": [1]},
    "kwargs_list": {"arch_kwargs": [1, 2]},
    "kwargs_tensor": {"arch_kwargs": {"width": torch.zeros(2)}},
    "kwargs_number_key": {"arch_kwargs": {3: 4}},
    "kwargs_large": {"arch_kwargs": {"width": 10**12}},
    "kwargs_nested": {"arch_kwargs": {"width": _nested(60)}},
    "names_numbers": {"class_names": [1, 2]},
    "names_text": {"class_names": "abc"},
    "preprocess_list": {"preprocess": [224]},
    "crop_list": {"preprocess": {"size": 32, "crop_pct": [1]}},
    "crop_nan": {"preprocess": {"size": 32, "crop_pct": math.nan}},
    "size_text": {"preprocess": {"size": "wide"}},
    "size_huge": {"preprocess": {"size": 10**9}},
    "size_tensor": {"preprocess": {"size": torch.zeros(2)}},
    "state_number": {"state_dict": 3},
    "state_text_key": {"state_dict": {3: torch.zeros(2)}},
}


def _tensors() -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "sparse": torch.eye(10).to_sparse(),
            "csr": torch.eye(10).to_sparse_csr(),
            "meta": torch.empty(10, 10, device="meta"),
            "float8": torch.zeros(10, 10).to(torch.float8_e4m3fn),
            "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            "complex": torch.zeros(10, 10, dtype=torch.complex64),
            "expanded": torch.zeros(1).expand(10**6, 10**6),
            "nan": torch.full((10, 10), math.nan),
        }


def checkpoints(place: Path) -> Iterator[Case]:
    """Files of torch.save, pickles, zips and what is no file."""
    named: dict[str, Any] = {f"opens_{key}": own(arch="resnet18", arch_kwargs={key: v}) for key, v in OPENERS.items()}
    named |= {
        f"timm_{key}": {"state_dict": GOOD, "args": {"model": "resnet18", "model_kwargs": {key: v}}}
        for key, v in OPENERS.items()
    }
    named |= {name: own(**said) for name, said in STATED.items()}
    named |= {f"tensor_{name}": {"state_dict": {"w": tensor}} for name, tensor in _tensors().items()}
    named |= {"pickle": Bomb(), "inside": {"state_dict": GOOD, "epoch": Bomb()}, "empty_dict": {}, "a_list": [1]}
    named |= {"key_escape": {"state_dict": {"\x1b[31m\n[red]": 3}}, "torchvision": own(arch="torchvision:resnet99")}
    for name, content in named.items():
        torch.save(content, place / f"{name}.pt")
    (place / "plain.pkl").write_bytes(pickle.dumps(Bomb()))
    (place / "old.pt").write_bytes(b"\x80\x02" + b"(" * 100_000)
    with zipfile.ZipFile(place / "zip.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200_000_000))
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (place / "huge.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    os.mkfifo(place / "fifo.pt")
    names = [*(f"{name}.pt" for name in named), "plain.pkl", "old.pt", "zip.pt", "huge.safetensors", "fifo.pt"]
    yield from ((f"checkpoint {name}", ["analyze", name, *ANALYZE.split()]) for name in names)
    yield "checkpoint /dev/zero", ["analyze", "/dev/zero", *ANALYZE.split()]


def configurations(place: Path) -> Iterator[Case]:
    """Hugging Face folders, each a config.json beside weights that are sound."""
    sound = {"architecture": "resnet18", "num_classes": 10}
    texts = {f"hf_{k}": json.dumps({**sound, "model_args": {k: v}}) for k, v in OPENERS.items()}
    texts |= {
        "hf_deep": "[" * 200_000,
        "hf_deep_table": '{"a":' * 200_000,
        "hf_list": "[1]",
        "hf_arch": json.dumps({"architecture": 3}),
        "hf_hub": json.dumps({"architecture": "hf-hub:timm/resnet18.a1_in1k"}),
        "hf_classes": json.dumps({**sound, "num_classes": -4}),
        "hf_mean": '{"architecture": "resnet18", "mean": 0.5}',
        "hf_nan": '{"architecture": "resnet18", "mean": [NaN, 1, 1], "std": [1, 1, 1]}',
        "hf_size": '{"architecture": "resnet18", "input_size": {"a": 1}}',
        "hf_cfg": '{"architecture": "resnet18", "pretrained_cfg": 3}',
        "hf_names": '{"architecture": "resnet18", "label_names": [1, {}]}',
    }
    for name, text in texts.items():
        (place / name).mkdir()
        (place / name / "config.json").write_text(text)
        torch.save(GOOD, place / name / "pytorch_model.bin")
        yield f"configuration {name}", ["analyze", name, *ANALYZE.split()]


def corpus(place: Path) -> list[Case]:
    """Makes them all, below this folder, and a checkpoint that is sound."""
    torch.save(own(), place / "good.pt")
    torch.save(Bomb(), place / "bomb.pt")
    (place / "net.py").write_text(NET)
    return [case for kind in (checkpoints, configurations, data, lists) for case in kind(place)]


def outcome(words: list[str]) -> dict[str, Any]:
    """What one command line comes to: its exit code, what it said, a traceback, the most memory so far."""
    said, begun, trace, code = io.StringIO(), time.monotonic(), "", -1
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(words)
    except BaseException:
        trace = traceback.format_exc()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"code": code, "said": said.getvalue(), "trace": trace, "peak": peak, "seconds": time.monotonic() - begun}


if __name__ == "__main__":
    here = Path(sys.argv[1])
    os.chdir(here)
    cases = corpus(here)
    before = sorted(str(path) for path in here.rglob("*"))
    found = {name: outcome(words) for name, words in cases}
    after = sorted(str(path) for path in here.rglob("*"))
    made = sorted(set(after) - set(before))
    (here / "outcomes.json").write_text(json.dumps({"cases": found, "made": made}))
