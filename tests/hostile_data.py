"""The part of the hostile corpus that is no model: pictures and tars; manifests, class maps, presets, histories."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Case = tuple[str, list[str]]
ANALYZE = "--data digits --limit 8 -o out"


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
        "declared.png": lambda file: file.write_bytes(
            png(1, 1).replace(bytes([0, 0, 0, 1] * 2), bytes([0, 2, 0, 0] * 2))
        ),
        "wide16.png": lambda file: file.write_bytes(png(30_000, 6_000, 16)),
        "float.tiff": lambda file: Image.fromarray(np.full((2, 30_000), np.nan, np.float32)).save(file),
        "text.png": lambda file: file.write_text("<script>"),
        "holes.png": lambda file: (file.touch(), os.truncate(file, 2**34)),
        "eps.png": lambda file: file.write_text("%!PS-Adobe-3.0 EPSF\n(canary) (w) file"),
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
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 2**33
    (place / "header.tar").write_bytes(long.tobuf(tarfile.GNU_FORMAT))
    os.truncate(place / "header.tar", 2**34)
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
    "data_dir": "data = 'digits'\narch = 'digits_cnn'\ndata_dir = 3",
    "deep": "data = " + "[" * 200_000,
    "method": "data = 'digits'\narch = 'digits_cnn'\nlimit = 64\nepochs = 1\nmethod = 'pgd:steps=-3'",
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
        yield f"preset {name}", ["train", "--config", f"preset_{name}.toml", "-o", f"trained_{name}"]
    for name, (config, rows) in HISTORIES.items():
        (place / f"history_{name}").mkdir()
        (place / f"history_{name}" / "config.json").write_text(config)
        (place / f"history_{name}" / "history.csv").write_text(rows)
        yield f"history {name}", ["figure", "learning_curves", f"history_{name}", "-o", "out.pdf"]
    for name, text in PLUGINS.items():
        (place / f"{name}.py").write_text(text)
        yield f"plugin {name}", ["list", "--plugin", f"{name}.py"]
