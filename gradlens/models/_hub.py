"""The Hugging Face Hub without its client's patience: where it cannot be reached, what is cached is all there is."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from huggingface_hub import constants

SECONDS = 5.0


@contextmanager
def at_once() -> Iterator[None]:
    """What is fetched in the block comes from the cache or fails, instead of after a minute of retries."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(address: str) -> bool:
    """Whether its host answers; taken for granted behind a proxy, which is asked in its place."""
    where = urlsplit(address)
    if urllib.request.getproxies().get(where.scheme) or where.hostname is None:
        return True
    port = where.port or (80 if where.scheme == "http" else 443)
    try:
        socket.create_connection((where.hostname, port), SECONDS).close()
    except OSError:
        return False
    return True
