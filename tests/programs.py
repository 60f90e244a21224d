"""Programs that tests drive from outside: found, or the test says that it could not run."""

from __future__ import annotations

import os
import random
import shutil
import socket
from contextlib import suppress

import pytest

# Servers are not on everybody's PATH.
_FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def needs_program(name: str) -> str:
    """The path of a program; without it the test is skipped, but fails where CI=true promises that it is there."""
    path = shutil.which(name, path=_FOLDERS)
    if path is None:
        message = f"this test needs {name}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{message}, which .ci/run should have installed")
        pytest.skip(message)
    return path


# Below those that the system gives to clients: one that tries a port until somebody listens there may get that port
# itself, and is then connected to itself.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at the moment."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
