"""Programs that tests drive from outside: found, or the test says that it could not run."""

from __future__ import annotations

import os
import shutil
import socket

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


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
