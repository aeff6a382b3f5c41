"""Opens a checkpoint, told by its first bytes, without running any code in it unless it is trusted."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from gradlens.core.fields import read_json
from gradlens.core.types import UserError

# The names that the Hub gives the files of a folder.
CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Opened:
    """The file that holds the weights, what is in it, and the Hugging Face configuration beside it."""

    file: Path
    content: Any
    config: dict[str, Any] | None = None


def open_checkpoint(path: Path, trust_pickle: bool = False) -> Opened:
    """A file of torch.save or safetensors, or a Hugging Face folder."""
    if not path.exists():
        raise UserError(f"no checkpoint at {path}; give the path of a file, or a timm name as timm:NAME")
    file = _weights_in(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path} is no file, but a device, pipe or socket; give the path of a checkpoint file")
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes); copy or download it again")
    content = _load_safetensors(file) if _is_safetensors(file) else _load_torch(file, trust_pickle)
    config = file.parent / CONFIG
    return Opened(file, content, _load_config(config) if file.name in WEIGHTS and config.is_file() else None)


def _weights_in(folder: Path) -> Path:
    held = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not held or not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} is a folder without {CONFIG} and {WEIGHTS[0]}; give the checkpoint file inside it, or a "
            "Hugging Face folder"
        )
    return held[0]


def _load_config(file: Path) -> dict[str, Any]:
    config = read_json(file, "the JSON object of a Hugging Face model: copy it again")
    if not isinstance(config, dict):
        raise UserError(f"{file} holds a {type(config).__name__}; wanted the JSON object of a Hugging Face model")
    return config


def _is_safetensors(file: Path) -> bool:
    """Its first eight bytes count those of the JSON object that follows."""
    with file.open("rb") as stream:
        start = stream.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= file.stat().st_size - 8


def _load_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{file} is a damaged safetensors file ({_first_line(error)}); copy or download it again"
        ) from None


def _load_torch(file: Path, trust_pickle: bool) -> Any:
    _check_zip(file)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # What it warns of in a file that it then refuses is of no use to the user.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:  # torch.load raises many types for a damaged file, and a pickle any at all
        raise UserError(_why_not_unpickled(file, error) if trust_pickle else _why_unreadable(file, error)) from None


def _check_zip(file: Path) -> None:
    """torch.save packs without compressing, so what unpacks to many times its size is not from there."""
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # older than torch 1.6, or damaged: torch.load will tell
    if unpacked > 10 * file.stat().st_size:
        raise UserError(
            f"{file} ({file.stat().st_size:,} bytes) unpacks to {unpacked:,}: it is not as torch.save wrote it, or "
            "made to exhaust memory; save it again with torch.save"
        )


def _why_not_unpickled(file: Path, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{file} was pickled with the Python package '{error.name}', which is not installed here; install it, "
            "or save model.state_dict() where it is"
        )
    if isinstance(error, AttributeError):
        return (
            f"{file} was pickled with code that is not found here ({_first_line(error)}); put it on PYTHONPATH, or "
            "save model.state_dict() where it is"
        )
    return (
        f"{file} could not be unpickled ({type(error).__name__}: {_first_line(error)}); it is damaged, of another "
        "format or of another version: save model.state_dict() where it can be opened"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _why_unreadable(file: Path, error: Exception) -> str:
    if needed := _unsafe_globals(file, error):
        refused = f"{file} needs {', '.join(needed)} to be imported and run, which gradlens refuses (weights only)"
        # Trust would not help where the code is not.
        if absent := next((name for name in needed if not is_here(*name.rpartition(".")[::2])), None):
            return f"{refused}, and {absent} is not here; save model.state_dict() where it is"
        return f"{refused}; save model.state_dict() instead of the model, or add --trust-pickle if you trust its origin"
    if "TorchScript" in str(error):
        return (
            f"{file} is a TorchScript archive, which is code; save model.state_dict() of the network it was made "
            "from, or add --trust-pickle if you trust its origin"
        )
    size = file.stat().st_size
    return (
        f"{file} ({size:,} bytes) is not a readable PyTorch checkpoint: it is truncated, damaged or of "
        "another format; copy it again, or save it with torch.save(model.state_dict(), path)"
    )


def is_here(module: str, name: str) -> bool:
    """Whether what a file asks for could be imported, told without importing a package that is not yet."""
    if module in sys.modules:
        return hasattr(sys.modules[module], name)
    return Path(module).is_file() or importlib.util.find_spec(module.partition(".")[0]) is not None


def _unsafe_globals(file: Path, error: Exception) -> list[str]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception:  # it reads no file older than torch 1.6, whose loader names the first one only
        return re.findall(r"GLOBAL (\S+)", str(error))[:1]
