"""Hostile clients, and how long everybody else waits meanwhile. Connections and time are bounded; loopback only."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Literal
from urllib.parse import SplitResult, urlsplit

PROBES_A_SECOND = 20
PATIENCE = 20.0  # seconds for an answer to a probe


@dataclass(frozen=True, slots=True)
class Attack:
    """What each hostile connection does, in turn: `requests`, and `again` says when it sends the next one.

    It connects anew whenever it was closed. With `reads` it reads its answers.
    """

    requests: Callable[[int, str], bytes]
    again: Literal["never", "answered", "always"] = "never"
    reads: bool = True


def _pin(number: int, path: str) -> bytes:
    """A body that never comes, in the two ways to announce one."""
    more = "Content-Length: 99999999" if number % 2 else "Content-Length: 10\r\nExpect: 100-continue"
    return f"POST /nope HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n".encode()


def _pipeline(number: int, path: str) -> bytes:
    return b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100


def _never_read(number: int, path: str) -> bytes:
    """For something large that is open to everybody, such as the console's style sheet."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 300


def _wrong_password(number: int, path: str) -> bytes:
    """For an API with a user `ada` whose password the config has as a hash. Each is another one: none is remembered."""
    wrong = f"user: ada\r\npassword: wrong-{number}"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{wrong}\r\n\r\n".encode()


ATTACKS: Mapping[str, Attack] = {
    "pin": Attack(_pin),
    "pipeline": Attack(_pipeline, again="always"),
    "never-read": Attack(_never_read, reads=False),
    "wrong-passwords": Attack(_wrong_password, again="answered"),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """How many probes of /healthz were answered meanwhile, and the slowest of them, in seconds."""

    probes: int
    slowest: float


def under_attack(name: str, url: str, connections: int = 40, seconds: float = 5.0) -> Seen:
    """Ask for /healthz again and again, each time on a new connection, while others attack.

    The path of `url` is what "never-read" asks for, and the API that "wrong-passwords" are sent to.
    """
    place = urlsplit(url)
    attacker = multiprocessing.Process(target=_attack, args=(ATTACKS[name], place, connections, seconds + 1))
    attacker.start()
    try:
        time.sleep(0.5)
        return _probe(place, seconds)
    finally:
        attacker.terminate()
        attacker.join()


def _probe(place: SplitResult, seconds: float) -> Seen:
    slowest, probes, end = 0.0, 0, time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        with socket.create_connection((place.hostname or "", place.port or 80), PATIENCE) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = client.recv(4096)
        took = time.monotonic() - began
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"/healthz answered {answer[:80]!r}")
        probes, slowest = probes + 1, max(slowest, took)
        time.sleep(max(0.0, 1 / PROBES_A_SECOND - took))
    return Seen(probes, slowest)


def _attack(attack: Attack, place: SplitResult, connections: int, seconds: float) -> None:
    numbers, end = count(), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            _connect(attack, place, selector, numbers)
        while time.monotonic() < end:
            for key, events in selector.select(0.1):
                client, unsent = key.fileobj, key.data
                assert isinstance(client, socket.socket)
                try:
                    if events & selectors.EVENT_READ and not (came := client.recv(65536)):
                        raise ConnectionError("closed")
                    if events & selectors.EVENT_READ and attack.again == "answered" and came:
                        unsent += attack.requests(next(numbers), place.path)
                    if events & selectors.EVENT_WRITE:
                        del unsent[: client.send(unsent)]
                        if not unsent and attack.again == "always":
                            unsent += attack.requests(next(numbers), place.path)
                except BlockingIOError:
                    continue
                except OSError:
                    selector.unregister(client)
                    client.close()
                    _connect(attack, place, selector, numbers)
                    continue
                wanted = selectors.EVENT_READ * attack.reads | selectors.EVENT_WRITE * bool(unsent)
                if wanted:
                    selector.modify(client, wanted, unsent)
                else:
                    selector.unregister(client)  # it stays open


def _connect(attack: Attack, place: SplitResult, selector: selectors.BaseSelector, numbers: count[int]) -> None:
    client = socket.create_connection((place.hostname or "", place.port or 80), PATIENCE)
    client.setblocking(False)
    wanted = selectors.EVENT_READ * attack.reads | selectors.EVENT_WRITE
    selector.register(client, wanted, bytearray(attack.requests(next(numbers), place.path)))
