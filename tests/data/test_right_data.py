"""Data as people have them mean what torchvision, pandas and Pillow make of them, or are refused: a row a kind."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from folders import classes, folder_of, jpeg, picture, put, write_all
from PIL import Image
from refusals import refused

from gradlens import Preprocess, load_data

NAMES = [f"im_{i}.jpg" for i in range(6)]
CLASS = [0, 1, 2, 0, 1, 2]
WORDS = [("cat", "dog", "eel")[c] for c in CLASS]
FRAME = pd.DataFrame({"filename": NAMES, "label": CLASS})
STEMS = FRAME.assign(filename=[name[:-4] for name in NAMES])
LISTS = {
    "kaggle": STEMS.rename(columns={"filename": "id"}).to_csv(index=False),
    "pandas with its index": FRAME.to_csv(),
    "pandas without names": FRAME.to_csv(index=False, header=False),
    "quotes": FRAME.to_csv(index=False, quoting=1),
    "tabs": FRAME.to_csv(index=False, sep="\t"),
    "semicolons": FRAME.to_csv(index=False, sep=";"),
    "the class named by its head": FRAME.assign(fold=3)[["filename", "fold", "label"]].to_csv(index=False),
    "floats of a column with gaps": FRAME.assign(label=FRAME["label"].astype(float)).to_csv(index=False),
    "words": FRAME.assign(label=WORDS).to_csv(index=False),
    "JSON": json.dumps(dict(zip(NAMES, CLASS, strict=True))),
    "the class first": "\n".join(f"{c} {name}" for name, c in zip(NAMES, CLASS, strict=True)),
    "paths of Windows": "\n".join(f"flat\\{name} {c}" for name, c in zip(NAMES, CLASS, strict=True)),
    "Oxford's pets": "#Image CLASS-ID\n" + "\n".join(f"{n[:-4]} {c} 1 2" for n, c in zip(NAMES, CLASS, strict=True)),
    "tiny-imagenet": "\n".join(f"{name}\t{c}\t0\t32\t44\t62" for name, c in zip(NAMES, CLASS, strict=True)),
}


@pytest.fixture
def flat(tmp_path):
    write_all(tmp_path / "flat", {name: jpeg(i) for i, name in enumerate(NAMES)})
    return tmp_path / "flat"


@pytest.mark.parametrize("kind", LISTS)
def test_a_label_list_means_what_its_writer_meant(kind, flat, tmp_path):
    data = load_data(flat, labels=put(tmp_path / "list.txt", LISTS[kind]))
    assert data.labels.tolist() == CLASS
    assert len(data.class_names) == 3


def test_unknown_labels_are_unknown_one_by_one_and_halves_are_refused(flat, tmp_path):
    gaps = FRAME.assign(label=[0, np.nan, 2, -1, 1, 2])
    data = load_data(flat, labels=put(tmp_path / "l.csv", gaps.to_csv(index=False)))
    assert data.labels.tolist() == [0, -1, 2, -1, 1, 2]
    assert "2 of 6 images have no label" in data.notes[-1]
    with refused("'0.5'", "unknown class"):
        load_data(flat, labels=put(tmp_path / "l.csv", FRAME.assign(label=0.5).to_csv(index=False)))
    one_based = put(tmp_path / "l.csv", FRAME.assign(label=[c + 1 for c in CLASS]).to_csv(index=False))
    assert "subtract 1" in load_data(flat, labels=one_based).notes[-1]


MAPS = {
    "LOC_synset_mapping": "b bee, Apis\na ant, Formica rufa\n",
    "the index first": "0 b\n1 a\n",
    "the index between": "b 0 honey bee\na 1 red_ant\n",
    "quotes": '"b","0"\n"a","1"\n',
    "names in order": "b\na\n",
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_class_map_means_what_its_writer_meant(kind, tmp_path):
    data = load_data(classes(tmp_path / "data", "a", "b"), class_map=put(tmp_path / "map.txt", MAPS[kind]))
    assert dict(zip(data.labels.tolist(), [data.path(i)[0] for i in range(2)], strict=True)) == {0: "b", 1: "a"}


@pytest.mark.parametrize(
    ("held", "asked"), [("Val", "val"), ("VALIDATION", "val"), ("Training", "train"), ("Test", "test")]
)
def test_splits_are_found_in_any_case(held, asked, tmp_path):
    folder_of(tmp_path / "set", **{f"{held}__pear": 1, f"{held}__apple": 2, "other__pear": 3})
    data = load_data(tmp_path / "set", split=asked)
    torchvisions = torchvision.datasets.ImageFolder(tmp_path / "set" / held)
    assert (data.labels.tolist(), list(data.class_names)) == (torchvisions.targets, torchvisions.classes)
    assert data.name == load_data(tmp_path / "set" / held).name == f"set/{asked}"


def test_folders_above_the_classes_are_refused(tmp_path):
    write_all(
        tmp_path, {f"C/{c}/{s}/{w}/1.JPEG": jpeg(0) for c in ("fog", "snow") for s in "12" for w in ("ant", "bee")}
    )
    for place, first in (("C", "C/fog"), ("C/fog", "C/fog/1")):
        with refused("above the class folders", f"give {tmp_path / first},"):
            load_data(tmp_path / place)
    assert load_data(tmp_path / "C/fog/1").class_names == ("ant", "bee")
    # A folder of one's own in each class, or other ones in each, lie below the classes.
    write_all(tmp_path, {f"T/{w}/images/{w}_{i}.JPEG": jpeg(i) for w in "ab" for i in range(2)})
    write_all(tmp_path, {f"H/{w}/{w}{i}/0.JPEG": jpeg(i) for w in "ab" for i in range(2)})
    for place in "TH":
        assert load_data(tmp_path / place).labels.tolist() == torchvision.datasets.ImageFolder(tmp_path / place).targets


def test_no_picture_is_left_out_unsaid(tmp_path):
    classes(tmp_path / "set", "a", "b")
    for name, kind in (("1.pgm", "PPM"), ("2.jfif", "JPEG"), ("3.tga", "TGA"), ("4.JPE", "JPEG")):
        Image.new("L", (4, 4)).save(tmp_path / "set/a" / name, kind)
    write_all(
        tmp_path / "set", {"a/5.heic": b"x", "a/6.jpg.part": b"x", "@eaDir/a/0.jpg": jpeg(0), "b/@eaDir/0.jpg": jpeg(0)}
    )
    (tmp_path / "set/b/broken.jpg").symlink_to("/nowhere.jpg")
    (tmp_path / "set/b/loop").symlink_to(tmp_path / "set")
    classes(tmp_path, "elsewhere", count=2)
    (tmp_path / "set/b/more").symlink_to(tmp_path / "elsewhere")
    data = load_data(tmp_path / "set")
    assert data.labels.tolist() == [0] * 5 + [1] * 3
    for said in (
        "1 files '.heic'",
        "1 files '.part'",
        "2 folders '@eaDir'",
        "1 links to nothing",
        "1 links to folders",
    ):
        assert said in data.notes[0]


RAMP = np.tile(np.linspace(0, 255, 16).round(), (4, 1))
DEEP = {
    "16 bits": ((RAMP * 257).astype(np.uint16), "png"),
    "12 in 16 bits": ((RAMP / 255 * 4095).round().astype(np.uint16), "png"),
    "8 in 16 bits": (RAMP.astype(np.uint16), "png"),
    "8 in 32 bits": (RAMP.astype(np.int32), "tif"),
    "floats to 255": (RAMP.astype(np.float32), "tif"),
    "floats to 1": ((RAMP / 255).astype(np.float32), "tif"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_pixels_deeper_than_8_bits_have_one_white_in_a_data_set(kind, tmp_path):
    pixels, suffix = DEEP[kind]
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / f"a/1.{suffix}")
    # A dark picture stays dark beside it.
    Image.fromarray((pixels / 16).astype(pixels.dtype)).save(tmp_path / f"a/0.{suffix}")
    data = load_data(tmp_path)
    assert np.abs(255 * data[1][0][0].numpy() - RAMP).max() <= 1
    assert 255 * float(data[0][0].max()) < 17
    assert "taken as white" in data.notes[-1]


def test_signed_pixels_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(RAMP.astype(np.int32) - 1024).save(tmp_path / "a/0.tif")
    with refused("[-1024, 0]", "nobody states"):
        load_data(tmp_path).batch([0])


def test_the_channels_of_a_folder_are_those_that_the_network_takes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 4), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a/0.png")
    read = {
        c: load_data(tmp_path).bind(Preprocess(12, 1.0), c)[0][0].numpy().transpose(1, 2, 0) * 255 for c in (1, 3, 4)
    }
    on_white = Image.alpha_composite(Image.new("RGBA", (12, 12), "white"), Image.fromarray(pixels)).convert("RGB")
    assert np.allclose(read[4], pixels)
    assert np.allclose(read[3], np.asarray(on_white))
    assert np.allclose(read[1][..., 0], np.asarray(on_white.convert("L")))
    picture().save(tmp_path / "a/0.png")
    with refused("4 channels", "no transparency"):
        load_data(tmp_path).bind(Preprocess(12, 1.0), 4).batch([0])


def test_an_embedded_name_that_is_a_folder_too_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    classes(tmp_path / "photos", "a", "b")
    assert len(load_data("photos").class_names) == 8
    assert "./photos" in caplog.text
    assert load_data("./photos").class_names == load_data(tmp_path / "photos").class_names == ("a", "b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_data("~/photos").class_names == ("a", "b")
    assert torch.equal(load_data("./photos")[0][0], load_data(tmp_path / "photos")[0][0])
