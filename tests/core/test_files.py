"""A file that looks complete is complete, and what cannot be written is said in one line."""

import pytest
from refusals import refused

from gradlens.core.files import check_checkpoint, make_folder, write_atomically


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
