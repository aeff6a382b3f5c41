"""A folder has one writer, for as long as that process lives and no longer."""

import os
import signal
import time

import pytest
from refusals import refused

from gradlens.core.lock import only_writer


def child(work):
    """The process id of a fork that does this, and then waits to be killed."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with work():
                os.write(tell, b"x")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_second_writer_is_told_at_once_who_the_first_is(tmp_path):
    out = tmp_path / "run"
    other = child(lambda: only_writer(out))
    try:
        began = time.monotonic()
        with refused(str(out), "written by another process", str(other), "choose another output"), only_writer(out):
            pass
        assert time.monotonic() - began < 1
    finally:
        kill(other)


def test_a_killed_process_holds_nothing_and_its_temporaries_are_cleared(tmp_path):
    kill(child(lambda: only_writer(tmp_path)))
    (tmp_path / ".run.json.4711.tmp").touch()
    (tmp_path / ".write-test-4711").touch()
    (tmp_path / "run.json").touch()
    with only_writer(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_what_a_writer_starts_does_not_outlive_its_claim(tmp_path):
    """A process that decodes images may live for seconds after its parent was killed."""

    class Nothing:
        def __enter__(self):
            pass

        def __exit__(self, *error):
            pass

    claim = only_writer(tmp_path)
    claim.__enter__()
    helper = child(Nothing)
    claim.__exit__(None, None, None)
    try:
        with only_writer(tmp_path):
            pass
    finally:
        kill(helper)


def test_one_process_is_one_writer_too(tmp_path):
    with only_writer(tmp_path), refused("written by another process"), only_writer(tmp_path):
        pass
    with only_writer(tmp_path / "a"), only_writer(tmp_path / "b"):
        pass


def test_a_folder_in_which_nothing_was_written_goes(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "new"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
