"""A signal asks a run to stop, and whoever listened before listens again."""

import os
import signal
import threading

import pytest

from gradlens.core.processes import Stop


def handlers():
    return [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_asks_and_is_named(name):
    stop, before = Stop(), handlers()
    with stop.on_signals():
        os.kill(os.getpid(), signal.Signals[name])
        assert stop.requested == name
    assert handlers() == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_does_not_wait():
    stop, before = Stop(), handlers()
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.requested == "SIGINT"
    assert handlers() == before


def test_another_thread_leaves_the_signals_alone():
    seen = []

    def listen():
        with Stop().on_signals():
            seen.append(handlers())

    before = handlers()
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
