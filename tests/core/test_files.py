"""A file that looks complete is complete, and what cannot be written is said in one line."""

import pytest
from refusals import refused

from gradlens.core.files import check_checkpoint, checkpoint_name, make_folder, trained_in, write_atomically


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "numbers.bin"
    write_atomically(path, lambda stream: stream.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda stream: (stream.write(b"half"), 1 / 0))
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda stream: stream.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with refused("cannot write", "file/run", "choose another output"):
        make_folder(tmp_path / "file" / "run")
    with refused("cannot write", "nowhere", "choose another output"):
        write_atomically(tmp_path / "nowhere" / "x", lambda stream: None)


def test_a_folder_is_made_with_its_parents_and_nothing_in_it(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "net.pt").touch()
    check_checkpoint(str(tmp_path / "net.pt"))
    check_checkpoint("timm:resnet18")
    with refused("no checkpoint at", "nowhere.pt", "timm:NAME"):
        check_checkpoint(str(tmp_path / "nowhere.pt"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("resnet.pth.tar", "resnet"),
        ("edge/best.pt", "edge"),
        ("edge/last.ckpt", "edge"),
        ("edge/model_best.pth.tar", "edge"),
        ("edge/checkpoints/last.pt", "edge"),
        ("edge/s3/best.pt", "edge-s3"),
        ("penalty=edge:alpha=1/s0/best.pt", "penalty=edge-alpha=1-s0"),
        ("edge/best_of_all.pt", "best_of_all"),
    ],
)
def test_a_checkpoint_called_as_any_takes_its_folders_name(path, name, tmp_path):
    assert checkpoint_name(tmp_path / path) == name


def test_the_trainings_of_a_sweep_are_found_in_order(tmp_path):
    for place in ("lr=0.2/s10", "lr=0.2/s2", "lr=0.1"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "best.pt").touch()
        (tmp_path / place / "last.pt").touch()
    assert [str(file.parent.relative_to(tmp_path)) for file in trained_in(tmp_path)] == [
        *("lr=0.1", "lr=0.2/s2", "lr=0.2/s10")
    ]
    assert trained_in(tmp_path / "lr=0.1" / "best.pt") == trained_in(tmp_path / "nowhere") == []
