"""Messages between a worker and a process that runs work for it, on a socket pair (unix(7), SOCK_SEQPACKET).

The kernel keeps messages whole, whoever sends at the same time: a workflow's threads and forked children may.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from typing import Any

# A message: its kind, the time it was sent in seconds since 1970, how many bytes of level and then of text follow.
HEAD = struct.Struct("<cdB")
MAX_TEXT = 32 * 1024
MAX_LEVEL = 20
_LATEST = 1e10  # seconds since 1970
_DESCRIPTOR = socket.CMSG_LEN(4)  # of a message that carries one
MAX_MESSAGE = HEAD.size + MAX_LEVEL + MAX_TEXT

# What Python wrote or logged (executions.log.STREAMS).
STDOUT, STDERR, LOG = b"o", b"e", b"l"
# The work's process has imported all that the config names.
WARM = b"w"
# What an attempt was given; a part of its report; and the rest of that: all is said, and the process has children, or
# none (the level).
GIVEN, REPORT, LAST = b"g", b"r", b"z"
CROWDED, ALONE = b"0", b"1"
# The process is as it was before and can be used again; or it is not.
CLEAN, SPOILT = b"c", b"s"
# From the guardian: the process's id; how it has ended (negative: by which signal); why it could not be started.
PID, ENDED, UNSTARTED = b"p", b"x", b"u"


def say(sock: int, kind: bytes, text: bytes = b"", level: bytes = b"") -> None:
    """Sends a message, or as many as a long text takes."""
    head = HEAD.pack(kind, time.time(), len(level)) + level
    if len(text) <= MAX_TEXT:
        os.write(sock, head + text)
        return
    for start in range(0, len(text), MAX_TEXT):
        os.write(sock, head + text[start : start + MAX_TEXT])


def heard(message: bytes | bytearray, size: int) -> tuple[bytes, float, bytes, bytes]:
    """The kind, time, level and text of a message of so many bytes. Raises struct.error when it is none."""
    kind, at, length = HEAD.unpack_from(message)
    start = HEAD.size + length
    if size < start or length > MAX_LEVEL or not 0 <= at < _LATEST:
        raise struct.error("this is no message of ours")
    return kind, at, bytes(message[HEAD.size : start]), bytes(message[start:size])


def order(sock: socket.socket, what: Mapping[str, Any]) -> None:
    """Tells a process what to do next. It never waits: a long order goes by a file in memory.

    Raises OSError when the process is gone, or has not read what it was told before.
    """
    text = json.dumps(what).encode()
    if len(text) < MAX_TEXT:
        sock.send(text, socket.MSG_DONTWAIT)
        return
    file = os.memfd_create("order")
    try:
        write_all(file, text)
        socket.send_fds(sock, [b"\0"], [file], socket.MSG_DONTWAIT)
    finally:
        os.close(file)


def next_order(sock: socket.socket) -> dict[str, Any] | None:
    """Waits for what to do next; None when there is nothing more."""
    text, sent, _, _ = sock.recvmsg(MAX_TEXT, _DESCRIPTOR)
    for _, _, descriptor in sent:
        with os.fdopen(int.from_bytes(descriptor, sys.byteorder), "rb") as file:
            file.seek(0)
            text = file.read()
    return json.loads(text.decode()) if text else None


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of the data, in as many pieces as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
