"""A proxy before Redis that loses replies: the request is done, and who sent it never hears of it."""

from __future__ import annotations

import hashlib
import selectors
import socket
import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit


class LossyProxy:
    """Listens on a unix socket and passes on everything, except the replies it was told to lose.

    A reply is lost by closing the client's connection when it comes, or, where `silently`, by never passing it on.
    """

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._server = unquote(urlsplit(redis_url).path)
        path = folder / "lossy.sock"
        self.url = f"unix://{path}"
        self.lost = 0
        self._to_lose: dict[bytes, int] = {}
        self._silently = False
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, script: str, times: int = 1, *, silently: bool = False) -> None:
        """Loses the replies to the next so many calls of a Lua script, which Redis must have loaded."""
        digest = hashlib.sha1(script.encode()).hexdigest().encode()
        with self._lock:
            self._to_lose[digest] = times
            self._silently = silently

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            server.connect(self._server)
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            losing = False
            while True:
                for key, _ in ready.select():
                    source = key.fileobj
                    try:
                        data = source.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if source is client:
                            losing = losing or self._is_to_lose(data)
                            server.sendall(data)
                        elif not losing:
                            client.sendall(data)
                        elif not self._silently:
                            return
                    except OSError:
                        return

    def _is_to_lose(self, request: bytes) -> bool:
        with self._lock:
            for digest, times in self._to_lose.items():
                if times and digest in request:
                    self._to_lose[digest] -= 1
                    self.lost += 1
                    return True
        return False

    def __enter__(self) -> LossyProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
