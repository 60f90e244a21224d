"""How our commands are typed here: for messages that tell somebody which to run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

USUAL = ".venv/bin/python -m trigger"


def ours() -> str:
    """Return what comes before a command's name, as this process was started: ".venv/bin/python -m trigger".

    Where it was started by something else, the way that the README shows.
    """
    words = sys.orig_argv
    if _is_ours():
        return shlex.join([*words[:3], *_instance(words[3:])])
    return USUAL


def _instance(words: Sequence[str]) -> list[str]:
    """The options before the command, which say what instance it is about."""
    end = 0
    while end < len(words) and words[end].startswith(("--config", "--data")):
        end += 1 if "=" in words[end] else 2
    return list(words[:end])


def typed() -> str:
    """The whole command that runs now."""
    return shlex.join([*sys.orig_argv[:3], *sys.argv[1:]]) if _is_ours() else f"{USUAL} {shlex.join(sys.argv[1:])}"


def _is_ours() -> bool:
    return sys.orig_argv[1:3] == ["-m", __package__]
