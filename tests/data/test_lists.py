"""A list of labels or of a subset means the images that it names, and one that does not fit is refused."""

from __future__ import annotations

import folders
import pytest
from folders import CLASSES, EXPECTED, LAYOUTS, file_name, flat, put, write_all
from refusals import refused

from gradlens import load_data

pytestmark = pytest.mark.usefixtures("four_classes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (folders.three_columns().replace(" 2 3", " 3 2"), ["class 3", "n02012849 is class 2", "ILSVRC ids"]),
        ("".join(f"{file_name(i)} {c + 1}\n" for i, c in enumerate(CLASSES)), ["class 4", "there are 4", "from 0"]),
        (folders.caffe() + "other.JPEG 1\nanother.JPEG 0\n", ["2 of 11", "other.JPEG, another.JPEG", "--subset"]),
        (folders.caffe().replace("00000003.JPEG", "00000033.JPEG"), ["1 of 9 images", "00000003", "--labels"]),
        (folders.caffe() + f"{file_name(0)} 1\n", [file_name(0), "twice"]),
        (folders.caffe().replace(" 3", " n99999999"), ["'n99999999'", "unknown class"]),
        (folders.caffe().replace(" 3", ""), ["has no class", "path and class"]),
        ("", ["is empty", "--labels"]),
        ("# comment\n", ["is empty"]),
        (folders.ground_truth(), ["ILSVRC ids", "meta.mat", "--labels"]),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,\n", ["has no class", "PredictionString"]),
        (b"\xff\xfe\x00\x81", ["cannot read", "wanted text"]),
    ],
    ids=[
        *("wrong column", "one-based", "unknown images", "missing images", "twice", "unknown class", "no class"),
        *("empty", "comments", "ids without order", "kaggle without class", "binary"),
    ],
)
def test_a_label_file_that_does_not_fit_is_refused(content, words, tmp_path):
    file = put(tmp_path / "lists" / "labels.txt", content)
    with refused("labels.txt", *words):
        load_data("imagenet-val", root=flat(tmp_path), labels=file)


def test_file_names_that_occur_twice_are_refused_where_a_list_names_them_alone(tmp_path):
    write_all(tmp_path, {"a/x.JPEG": folders.jpeg(0), "b/x.JPEG": folders.jpeg(1)})
    with refused("'x.JPEG'", "2 images", "a/x.JPEG and b/x.JPEG", "path"):
        load_data(tmp_path, labels=put(tmp_path / "l.txt", "x.JPEG 0\n"))
    assert load_data(tmp_path, labels=put(tmp_path / "l.txt", "a/x.JPEG 1\nb/x.JPEG 0\n")).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "lines",
    [
        [EXPECTED[6][0], EXPECTED[1][0]],
        ["./val/" + EXPECTED[1][0], EXPECTED[6][0]],
        [f"{EXPECTED[k][0].split('/')[1]}" for k in (1, 6)],
        [f"{EXPECTED[k][0].split('/')[1].removesuffix('.JPEG')}" for k in (6, 1)],
        [f"{EXPECTED[k][0]} {EXPECTED[k][1]}" for k in (1, 6)],
        ["6", "1"],
    ],
    ids=["paths", "from above", "names", "stems", "with classes", "indices"],
)
@pytest.mark.parametrize("name", ["synset_folders", "flat_with_kaggle_csv", "tar_of_synset_folders"])
def test_a_subset_is_named_in_any_way(name, lines, tmp_path):
    options = LAYOUTS[name](tmp_path)
    file = put(tmp_path / "ids.txt", "\n".join(lines) + "\n")
    data = load_data("imagenet-val", root=tmp_path, subset=file, **options)
    assert data.indices.tolist() == [1, 6]
    assert load_data(**data.options).fingerprint == data.fingerprint


def test_a_folder_with_only_the_images_of_a_subset_will_do(tmp_path):
    """As RobustBench's 5,000, which someone copied out of the 50,000."""
    keep = [EXPECTED[k][0] for k in (0, 4, 5)]
    write_all(tmp_path / "a", {k: v for k, v in folders.synset_files().items() if k in keep})
    write_all(tmp_path / "b", {k.split("/")[1]: v for k, v in folders.synset_files().items() if k in keep})
    put(tmp_path / "b" / "val.txt", folders.caffe())
    file = put(tmp_path / "ids.txt", "\n".join(keep))
    made = [load_data("imagenet-val", root=tmp_path / x, subset=file) for x in "ab"]
    assert [d.labels.tolist() for d in made] == [[EXPECTED[k][1] for k in (0, 4, 5)]] * 2
    assert made[0].fingerprint == made[1].fingerprint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("99\n", ["image 99 of 9", "from 0 to 8"]),
        ("none.JPEG\nneither.JPEG\n" + EXPECTED[0][0], ["2 of 3", "none.JPEG, neither.JPEG"]),
        ("3\n3\n", ["twice"]),
        ("../../etc/passwd\n", ["1 of 1", "no image"]),
        ("", ["is empty", "--subset"]),
    ],
)
def test_a_subset_that_names_no_image_is_refused(content, words, tmp_path):
    folders.synset_folders(tmp_path)
    with refused("ids.txt", *words):
        load_data("imagenet-val", root=tmp_path, subset=put(tmp_path / "ids.txt", content))
