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
import socket
import struct
import sys
import tarfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

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
    """A checkpoint of gradlens that says these things of itself."""
    return {"gradlens": 1, "arch": "digits_cnn", "state_dict": {"w": torch.zeros(10, 4)}, **said}


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


def png(width: int, height: int, bits: int = 8) -> bytes:
    """A whole picture of black: a few bytes a megapixel."""
    row = b"\0" + bytes((width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def data(place: Path) -> Iterator[Case]:
    """Folders of one picture that is none, and tars."""
    pictures: dict[str, Callable[[Path], object]] = {
        "fifo.png": os.mkfifo,
        "socket.png": lambda file: socket.socket(socket.AF_UNIX).bind(str(file)),
        "device.png": lambda file: file.symlink_to("/dev/zero"),
        "long.png": lambda file: file.write_bytes(png(100_000, 1)),
        "tall.png": lambda file: file.write_bytes(png(1, 100_000)),
        "declared.png": lambda file: file.write_bytes(png(60_000, 60_000 if False else 3)[:33] + b""),
        "wide16.png": lambda file: file.write_bytes(png(30_000, 6_000, 16)),
        "float.tiff": lambda file: Image.fromarray(np.full((2, 30_000), np.nan, np.float32)).save(file),
        "text.png": lambda file: file.write_text("<script>"),
        "holes.png": lambda file: os.truncate(file.open("wb").fileno(), 2**40),
        "eps.png": lambda file: file.write_text(f"%!PS-Adobe-3.0 EPSF\n({CANARY}) (w) file"),
    }
    for name, make in pictures.items():
        folder = place / f"data_{name.replace('.', '_')}"
        (folder / "a").mkdir(parents=True)
        with contextlib.chdir(folder / "a"):
            make(Path(name))
        yield f"data {name}", ["analyze", "good.pt", "--data", folder.name, "-o", "out"]
    for name, member in {"up": "../../x.png", "absolute": "/x.png", "escape": "a/\x1b[31m\n.png"}.items():
        with tarfile.open(place / f"{name}.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(member), io.BytesIO())
        yield f"data {name}.tar", ["analyze", "good.pt", "--data", f"{name}.tar", "-o", "out"]
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 2**36
    (place / "header.tar").write_bytes(long.tobuf(tarfile.GNU_FORMAT))
    os.truncate(place / "header.tar", 2**37)
    os.mkfifo(place / "pipe.tar")
    yield from ((f"data {n}", ["analyze", "good.pt", "--data", n, "-o", "out"]) for n in ("header.tar", "pipe.tar"))


MANIFESTS = {
    "path": "[a]\npath = 3",
    "path_nul": '[a]\npath = "x\\u0000y"',
    "path_long": f'[a]\npath = "{"x" * 5000}"',
    "order": "[a]\npath = 'good.pt'\norder = 'x'",
    "mean": "[a]\npath = 'good.pt'\nmean = 0.5",
    "mean_nan": "[a]\npath = 'good.pt'\nmean = [nan, 0.5, 0.5]",
    "std": "[a]\npath = 'good.pt'\nstd = [0.0, 1.0, 1.0]",
    "classes": "[a]\npath = 'good.pt'\nnum_classes = -4",
    "normalized": "[a]\npath = 'good.pt'\nnormalized = 'yes'",
    "color": "[a]\npath = 'good.pt'\ncolor = '#D55E³00'",
    "marker": "[a]\npath = 'good.pt'\nmarker = '$x$'",
    "deep": "a = " + "[" * 200_000,
    "up": '["../../escaped"]\npath = "good.pt"',
    "absolute": '["/tmp/escaped"]\npath = "good.pt"',
    "dots": '[".."]\npath = "good.pt"',
    "nul": '["a\\u0000b"]\npath = "good.pt"',
    "escape": '["\\u001b[31mred\\n"]\npath = "good.pt"',
    "stray": '[a]\npath = "good.pt"\n"\\u001b[2J\\n" = 3',
    "arch": "[a]\npath = 'good.pt'\narch = [1]",
}
MAPS = {
    "map_deep": "[" * 200_000,
    "map_list": '[["a"]]',
    "map_true": '{"a": true}',
    "map_float": '{"a": 1.5}',
    "map_large": '{"a": 1000000000000}',
    "map_empty": '{"0": []}',
}
PRESETS = {
    "epochs": "data = 'digits'\narch = 'digits_cnn'\nepochs = '3'",
    "lr": "data = 'digits'\narch = 'digits_cnn'\nlr = nan",
    "mean": "data = 'digits'\narch = 'digits_cnn'\nmean = [1, 2]",
    "out": "data = 'digits'\narch = 'digits_cnn'\nout = 3",
    "deep": "data = " + "[" * 200_000,
    "method": "data = 'digits'\narch = 'digits_cnn'\nmethod = 'pgd:steps=-3'",
    "kwargs": "data = 'digits'\narch = 'resnet18'\narch_kwargs = 'checkpoint_path=\"bomb.pt\"'",
}
HISTORIES = {
    "empty": ("{}", "epoch,val_top1,val_pgd10\n1,0.5,0.5\n"),
    "deep": ("[" * 200_000, "epoch,val_top1,val_pgd10\n1,0.5,0.5\n"),
    "list": ("[1]", "epoch,val_top1,val_pgd10\n1,0.5,0.5\n"),
    "epochs": ('{"epochs": "3"}', "epoch,val_top1,val_pgd10\n1,0.5,0.5\n"),
    "text": ('{"epochs": 3}', "epoch,val_top1,val_pgd10\n1,=cmd,0.5\n"),
    "binary": ('{"epochs": 3}', "\0\0\0"),
}
PLUGINS = {"exits": "raise SystemExit(0)", "fails": "1 / 0", "no_python": "\0"}


def lists(place: Path) -> Iterator[Case]:
    """Manifests, class maps, presets, histories and plugins."""
    for name, text in MANIFESTS.items():
        (place / f"models_{name}.toml").write_text(text)
        yield f"manifest {name}", ["analyze", "--models", f"models_{name}.toml", *ANALYZE.split()]
    (place / "classes" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "classes" / "a" / "x.png")
    for name, text in MAPS.items():
        (place / f"{name}.json").write_text(text)
        words = ["--data", "classes", "--class-map", f"{name}.json", "-o", "out"]
        yield f"class map {name}", ["analyze", "good.pt", *words]
    for name, text in PRESETS.items():
        (place / f"preset_{name}.toml").write_text(text)
        yield f"preset {name}", ["train", "--config", f"preset_{name}.toml", "-o", "out", "--epochs", "1", "--limit", "64"]
    for name, (config, rows) in HISTORIES.items():
        (place / f"history_{name}").mkdir()
        (place / f"history_{name}" / "config.json").write_text(config)
        (place / f"history_{name}" / "history.csv").write_text(rows)
        yield f"history {name}", ["figure", "learning_curves", f"history_{name}", "-o", "out.pdf"]
    for name, text in PLUGINS.items():
        (place / f"{name}.py").write_text(text)
        yield f"plugin {name}", ["list", "--plugin", f"{name}.py"]


def corpus(place: Path) -> list[Case]:
    """Makes them all, below this folder, and a checkpoint that is sound."""
    from gradlens.models._zoo import digits_cnn

    state = digits_cnn(width=4).state_dict()
    torch.save({**own(arch_kwargs={"width": 4}, mean=[0.5] * 3, std=[0.5] * 3), "state_dict": state}, place / "good.pt")
    torch.save(Bomb(), place / "bomb.pt")
    (place / "net.py").write_text(NET)
    return [case for kind in (checkpoints, configurations, data, lists) for case in kind(place)]


def outcome(words: list[str]) -> dict[str, Any]:
    """What one command line comes to: its exit code, what it said, a traceback, the most memory so far."""
    from gradlens.cli.main import main

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
