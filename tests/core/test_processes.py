"""What a launcher left in the environment is understood, or said within a minute."""

import datetime
import socket
import time

import pytest
from refusals import refused

from gradlens.core import processes


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, (0, 1)),
        ({"RANK": "", "WORLD_SIZE": ""}, (0, 1)),
        ({"RANK": "3"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1)),
    ],
)
def test_a_launchers_variables(monkeypatch, variables, found):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (processes.rank(), processes.world()) == found


def test_a_number_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with refused("WORLD_SIZE=two", "no number", "unset"):
        processes.world()


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"RANK": "0", "MASTER_ADDR": "127.0.0.1"}, {"RANK": "1"}])
def test_left_over_variables_are_said_soon(monkeypatch, variables):
    assert datetime.timedelta(minutes=1) >= processes.MEETING
    monkeypatch.setattr(processes, "MEETING", datetime.timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", "MASTER_PORT": port, **variables}.items():
        monkeypatch.setenv(name, value)
    if variables == {"RANK": "1"}:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    began = time.monotonic()
    with refused("one of 2 processes", "torchrun", "unset both"):
        processes.barrier()
    assert time.monotonic() - began < 20
