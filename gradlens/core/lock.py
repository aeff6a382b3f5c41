"""The one writer of a folder: two would each measure everything, and one would lose it."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradlens.core.files import clear_temporaries, make_folder
from gradlens.core.types import UserError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# Of file systems that know no locks, such as some clusters' Lustre.
UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_HELD: set[int] = set()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the one process that writes into a folder while the block lasts; raises UserError where another is.

    The system ends the claim with the process, however that ends; what a killed one left half written is cleared.
    """
    made = not folder.exists()
    lock = _locked(make_folder(folder) / NAME)
    try:
        clear_temporaries(folder)
        yield
    finally:
        # Not in a forked child, whose parent goes on; and while it is held, or it would be another's file.
        if lock in _HELD:
            with suppress(OSError):
                (folder / NAME).unlink()
            _HELD.discard(lock)
            os.close(lock)
        if made:
            with suppress(OSError):
                folder.rmdir()


def _leave_to_the_parent() -> None:
    for lock in _HELD:
        os.close(lock)
    _HELD.clear()


# A forked child, such as a process that decodes images, would hold the lock for as long as it outlives its parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _locked(path: Path) -> int:
    """A descriptor of the lock file that holds its lock."""
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose another output") from None
        try:
            _take(lock, path)
            # Its last owner may have removed the file between the two calls; the lock would be nobody's.
            current = path.exists() and os.path.samestat(os.fstat(lock), path.stat())
        except BaseException:
            os.close(lock)
            raise
        if current:
            _HELD.add(lock)
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()} on {socket.gethostname()}".encode())
            return lock
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    if fcntl is None:  # pragma: no cover - Windows
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 200).decode("utf-8", "replace")
        raise UserError(
            f"{path.parent} is being written by another process ({owner or 'just started'}); wait for it, or choose "
            "another output"
        ) from None
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise UserError(f"cannot lock {path}: {error.strerror}; choose another output") from None
        logging.getLogger("gradlens").warning(
            f"{path.parent} cannot be locked here; start only one process that writes it"
        )
