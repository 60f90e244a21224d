"""What connections hold together, and which of them are cut off; with the sockets of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from trigger.web import connection as module
from trigger.web.connection import Connection, Connections

LARGE = b"x" * 10 * 1024 * 1024


class Pair:
    """A connection and its client."""

    def __init__(self, others: Connections) -> None:
        self.client, self.sock = socket.socketpair()
        self.connection = Connection(self.sock, others)
        self.connection.begin(10)

    def sends(self) -> Any:
        """A greenlet that sends an answer which the client does not read."""
        sending = gevent.spawn(self.connection.send, LARGE)
        gevent.sleep(0.01)
        return sending

    def close(self) -> None:
        self.connection.close()
        self.sock.close()
        self.client.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    others = Connections()
    pairs = [Pair(others) for _ in range(6)]
    yield pairs
    for pair in pairs:
        pair.close()
    assert (others.held, len(others)) == (0, 0)


def test_of_those_that_hold_too_much_the_oldest_are_cut_off(pairs: list[Pair]) -> None:
    others = pairs[0].connection._others
    sending = [pair.sends() for pair in pairs]
    gevent.joinall(sending[:2], timeout=5)
    assert [greenlet.dead for greenlet in sending] == [True, True, False, False, False, False]
    assert all(isinstance(greenlet.exception, OSError) for greenlet in sending[:2])
    assert others.held == 4 * module.COUNTED_BYTES == module.ALL_HELD_BYTES
    for pair in pairs[2:]:
        came = 0
        while came < len(LARGE):
            came += len(pair.client.recv(1_000_000))
    gevent.joinall(sending, timeout=5, raise_error=False)
    assert [greenlet.exception for greenlet in sending[2:]] == [None] * 4


def test_an_answer_larger_than_all_may_hold_can_be_read(pairs: list[Pair]) -> None:
    size = 2 * module.ALL_HELD_BYTES
    sending = gevent.spawn(pairs[0].connection.send, b"x" * size)
    came = 0
    while came < size:
        came += len(pairs[0].client.recv(1_000_000))
    assert sending.get(timeout=5) is None


def test_who_serves_a_request_is_never_cut_off(pairs: list[Pair]) -> None:
    others = pairs[0].connection._others
    first, second, *_ = pairs
    assert not others.cut_one()  # nobody waits
    waiting = gevent.spawn(second.connection.chunk)
    gevent.sleep(0.01)
    assert others.cut_one()
    assert waiting.get(timeout=5) == b""
    assert first.connection in others
    first.connection.send(b"served")
    assert first.client.recv(10) == b"served"


def test_a_request_that_has_begun_is_not_idle(pairs: list[Pair]) -> None:
    others = pairs[0].connection._others
    begun, idle, *_ = pairs
    begun.client.sendall(b"G")
    assert begun.connection.chunk() == b"G"
    others.cut_idle()
    assert list(others) == [begun.connection]
    assert idle.client.recv(1) == b""
