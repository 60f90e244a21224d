"""Credentials whose secret is stored as a hash: each is computed once, a few at a time, and the result remembered.

A scrypt computation takes about 0.2 s and 32 MB. So a process makes one at a time, away from the loop that serves
everybody else, and a limited number of callers wait for theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as random
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from trigger.config.secret import Secret
from trigger.errors import TooManyRequests
from trigger.offload import offload

# How many right credentials a process remembers, and how many wrong ones.
REMEMBERED = 4096
# How many callers may be waiting for a computation, the one being made included: in all, and from one network.
PLACES = 12
PLACES_EACH = 4

_BUSY = "Too many passwords are being checked; try again in a second"


class Hashes:
    """Compares credentials with hashed secrets. One for each process; may be used by several threads at once.

    Credentials are remembered as HMACs under a key of this process. An HMAC covers the hash in the config, so an edit
    that changes a secret needs no other step to forget what was known about the old one.
    """

    def __init__(self) -> None:
        self._key = random.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._decoys: dict[str, Secret] = {}
        self._waiting: Counter[str] = Counter()
        self._lock = Lock()
        self._turn = Lock()

    def decoy(self, like: Secret) -> Secret:
        """Return a hash that no value has, which takes as long to compute as `like` does: for unknown users."""
        method = like.reveal().partition("$")[0]
        if method not in self._decoys:
            self._decoys[method] = Secret(f"{method}${random.token_hex(8)}${random.token_hex(64)}")
        return self._decoys[method]

    def remembers(self, secret: Secret, value: bytes) -> bool:
        """Return whether `value` was computed before and is right. Costs no scrypt."""
        return self._known(self._right, self._seal(b"", secret, value))

    def find(
        self, secrets: Sequence[tuple[str | None, Secret]], value: bytes, *, door: str, user: bytes, network: str
    ) -> str | None:
        """Return the name that goes with the secret that `value` is, or None.

        `door` names what the credentials are tried on, `network` where they came from. A wrong value is remembered
        for its door and user only: otherwise the time of a second try, with another user, would tell who exists.

        Raises TooManyRequests at once if too many callers, or too many from this network, are waiting.
        """
        scope = hashlib.sha256(door.encode()).digest() + hashlib.sha256(user).digest()
        seals = [self._seal(scope, secret, value) for _, secret in secrets]
        if all(self._known(self._wrong, seal) for seal in seals):
            return None
        with self._place(network):
            for (name, secret), seal in zip(secrets, seals, strict=True):
                if self.remembers(secret, value):  # by now
                    return name
                if self._known(self._wrong, seal):
                    continue
                if offload(secret.matches, value):
                    self._remember(self._right, self._seal(b"", secret, value))
                    return name
                self._remember(self._wrong, seal)
        return None

    @contextmanager
    def _place(self, network: str) -> Iterator[None]:
        """Wait for the turn to compute. One network can't take all places."""
        with self._lock:
            if self._waiting.total() >= PLACES or self._waiting[network] >= PLACES_EACH:
                raise TooManyRequests(_BUSY, headers={"Retry-After": "1"})
            self._waiting[network] += 1
        try:
            with self._turn:
                yield
        finally:
            with self._lock:
                self._waiting[network] -= 1
                self._waiting += Counter()  # drops networks without a caller

    def _seal(self, scope: bytes, secret: Secret, value: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join((scope, secret.reveal().encode(), value)), hashlib.sha256)

    def _known(self, memory: OrderedDict[bytes, None], seal: bytes) -> bool:
        with self._lock:
            if seal not in memory:
                return False
            memory.move_to_end(seal)
            return True

    def _remember(self, memory: OrderedDict[bytes, None], seal: bytes) -> None:
        with self._lock:
            memory[seal] = None
            if len(memory) > REMEMBERED:
                memory.popitem(last=False)
