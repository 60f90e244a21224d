"""How our commands are typed here: for messages that tell somebody which to run."""

from __future__ import annotations

import shlex
import sys

USUAL = ".venv/bin/python -m trigger"


def ours() -> str:
    """What comes before a command's name, as this process was started: ".venv/bin/python -m trigger".

    Where it was started by something else, the way that the README shows.
    """
    words = sys.orig_argv
    if words[1:3] == ["-m", __package__]:
        return shlex.join(words[:3])
    return USUAL


def typed() -> str:
    """The whole command that runs now."""
    return f"{ours()} {shlex.join(sys.argv[1:])}"
