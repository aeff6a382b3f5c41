"""Pictures and data sets in miniature: class folders, tars, CIFAR-10, and ImageNet in every layout it comes in.

Each writer of a layout fills a folder and returns what ``load_data`` is told besides the name and the root.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

WNIDS = ("n01440764", "n01443537", "n02012849", "n03126707")
NAMES = ("tench", "goldfish", "crane (n02012849)", "crane (n03126707)")
# The class of ILSVRC2012_val_00000001, …2, …: neither sorted nor balanced.
CLASSES = (2, 0, 3, 1, 1, 0, 2, 3, 0)
# ILSVRC ids, in an order that is not that of the sorted synsets.
IDS = {3: WNIDS[0], 1: WNIDS[1], 4: WNIDS[2], 2: WNIDS[3]}
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = "ILSVRC2012_devkit_t12"
CIFAR = "cifar-10-batches-py"
CIFAR_TRAIN, CIFAR_TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",)
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Writer = Callable[[Path], dict[str, Any]]
LAYOUTS: dict[str, Writer] = {}


def layout(write: Writer) -> Writer:
    LAYOUTS[write.__name__] = write
    return write


def file_name(number: int) -> str:
    return f"ILSVRC2012_val_{number + 1:08d}.JPEG"


# The identity, class and number of each image, in the order of the data set.
EXPECTED = sorted((f"{WNIDS[c]}/{file_name(i)}", c, i) for i, c in enumerate(CLASSES))


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


def picture(seed: int = 0, size: tuple[int, int] = (20, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def put(file: Path, content: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def tar_of(file: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def folder_of(root: Path, **classes: int) -> Path:
    """A folder with so many random pictures a class, ``train__cat`` for nested ones."""
    for k, (name, count) in enumerate(classes.items()):
        place = root / name.replace("__", "/")
        place.mkdir(parents=True)
        for i in range(count):
            picture(100 * k + i).save(place / f"{i:02d}.png")
    return root


def classes(root: Path, *names: str, count: int = 1) -> Path:
    """A folder with so many pictures in each class."""
    write_all(root, {f"{name}/{i}.jpg": jpeg(i) for name in names for i in range(count)})
    return root


def flat_files(prefix: str = "") -> dict[str, bytes]:
    return {prefix + file_name(i): jpeg(i) for i in range(len(CLASSES))}


def synset_files(prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{WNIDS[c]}/{file_name(i)}": jpeg(i) for i, c in enumerate(CLASSES)}


def write_all(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        put(root / name, content)


def flat(root: Path) -> Path:
    """The images in one folder without labels."""
    write_all(root, flat_files("val/"))
    return root


def meta_mat() -> bytes:
    """As the devkit's: ids, wnids and number of children, an inner node last."""
    from scipy.io import savemat

    rows = [(i, wnid, "words", 0) for i, wnid in sorted(IDS.items())] + [(1001, "n00001740", "entity", 4)]
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    stream = io.BytesIO()
    savemat(stream, {"synsets": np.array(rows, dtype=kind)[:, None]}, do_compression=True)
    return stream.getvalue()


def ground_truth() -> str:
    ids = {wnid: i for i, wnid in IDS.items()}
    return "".join(f"{ids[WNIDS[c]]}\n" for c in CLASSES)


def caffe() -> str:
    return "".join(f"{file_name(i)} {c}\n" for i, c in enumerate(CLASSES))


def three_columns() -> str:
    lines = [f"{WNIDS[c]}/{file_name(i)} {c} {(c + 1) % 4}\n" for i, c in enumerate(CLASSES)]
    return "".join(lines)


def kaggle_csv() -> str:
    rows = [f"{file_name(i).removesuffix('.JPEG')},{WNIDS[c]} 85 1 499 272 \n" for i, c in enumerate(CLASSES)]
    return "ImageId,PredictionString\n" + "".join(reversed(rows))


def place_cifar(monkeypatch: pytest.MonkeyPatch, folder: Path, batches: dict[str, dict[str, Any]]) -> None:
    """CIFAR-10 of these batches, by file name, with the checksums that torchvision wants."""
    files = {"batches.meta": {"label_names": list(CIFAR_CLASSES)}, **batches}
    sums = {}
    for name, content in files.items():
        sums[name] = hashlib.md5(put(folder / name, pickle.dumps(content, protocol=2)).read_bytes()).hexdigest()
    for attribute, names in (("train_list", CIFAR_TRAIN), ("test_list", CIFAR_TEST)):
        monkeypatch.setattr(CIFAR10, attribute, [[name, sums[name]] for name in names])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})


def devkit_archive(root: Path) -> None:
    data = {"meta.mat": meta_mat(), TRUTH: ground_truth().encode()}
    tar_of(root / f"{DEVKIT}.tar.gz", {f"{DEVKIT}/data/{k}": v for k, v in data.items()}, "w:gz")


@layout
def synset_folders(root):
    write_all(root, synset_files())
    return {}


@layout
def synset_folders_in_val(root):
    write_all(root, synset_files("val/"))
    write_all(root, {f"train/{WNIDS[0]}/x.JPEG": jpeg(99)})
    return {}


@layout
def flat_with_caffe_list_beside(root):
    write_all(root, flat_files("val/"))
    put(root / "val.txt", caffe())
    return {}


@layout
def flat_with_caffe_list_inside(root):
    write_all(root, flat_files())
    put(root / "val.txt", caffe())
    return {}


@layout
def flat_with_caffe_list_given(root):
    write_all(root, flat_files())
    return {"labels": put(root / "lists" / "mine.txt", caffe())}


@layout
def flat_with_three_columns(root):
    write_all(root, flat_files("val/"))
    return {"labels": put(root / "src_data" / "val.txt", three_columns())}


@layout
def flat_with_kaggle_csv(root):
    write_all(root, flat_files("val/"))
    put(root / "LOC_val_solution.csv", kaggle_csv())
    return {}


@layout
def flat_with_devkit_ids(root):
    write_all(root, flat_files())
    put(root / TRUTH, ground_truth())
    put(root / "meta.mat", meta_mat())
    return {}


@layout
def flat_with_unpacked_devkit(root):
    write_all(root, flat_files("val/"))
    put(root / DEVKIT / "data" / TRUTH, ground_truth())
    put(root / DEVKIT / "data" / "meta.mat", meta_mat())
    return {}


@layout
def flat_with_devkit_ids_given(root):
    write_all(root, flat_files("val/"))
    put(root / "devkit" / "data" / "meta.mat", meta_mat())
    return {"labels": put(root / "devkit" / "data" / TRUTH, ground_truth())}


@layout
def kaggle_root(root):
    write_all(root, flat_files("ILSVRC/Data/CLS-LOC/val/"))
    put(root / "ILSVRC/ImageSets/CLS-LOC/val.txt", "".join(f"{file_name(i)[:-5]} {i + 1}\n" for i in range(9)))
    put(root / "LOC_val_solution.csv", kaggle_csv())
    return {}


@layout
def torchvision_root(root):
    devkit_archive(root)
    put(root / "meta.bin", b"made by torchvision")
    write_all(root, synset_files("val/"))
    return {}


@layout
def torchvision_root_before_it_is_unpacked(root):
    devkit_archive(root)
    tar_of(root / "ILSVRC2012_img_val.tar", flat_files())
    return {}


@layout
def tar_of_synset_folders(root):
    tar_of(root / "val.tar", synset_files("./val/"))
    return {}


@layout
def tar_of_flat_files(root):
    tar_of(root / "val.tar", flat_files("val/"))
    put(root / "LOC_val_solution.csv", kaggle_csv())
    return {}
