"""Weights that are neither cached nor to be fetched are one line, at once."""

import socket
import time

import huggingface_hub
import pytest
from huggingface_hub import constants
from refusals import refused

from gradlens import load_model
from gradlens.models._hub import at_once

NAME = "timm:resnet10t.c3_in1k"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A Hub whose port is closed, and an empty cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_missing_weights_offline_are_said_at_once(nowhere):
    began = time.monotonic()
    with refused("could not fetch the weights of resnet10t", "--weights random"):
        load_model(NAME)
    assert time.monotonic() - began < 20  # its client's own retries take a minute


def test_only_a_hub_that_is_not_there_is_left_alone(nowhere, monkeypatch):
    with at_once():
        assert huggingface_hub.is_offline_mode()
    assert not huggingface_hub.is_offline_mode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with at_once():
            assert not huggingface_hub.is_offline_mode()
