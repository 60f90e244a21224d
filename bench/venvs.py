"""The peers' virtual environments, made once below `bench/.venvs` and again when their requirements change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.stacks import Stack

BENCH = Path(__file__).resolve().parent
PEERS = BENCH / "peers"
VENVS = BENCH / ".venvs"


class MissingProgram(Exception):
    """A program that a bench needs is not on this machine; the message says how it comes there."""


def requirements(venv: str) -> Path:
    """The pinned packages of a peer."""
    return PEERS / "requirements" / f"{venv}.txt"


def python(stack: Stack) -> Path:
    """The interpreter of a stack: ours, or that of its virtual environment."""
    if stack.is_before:
        return folder(stack) / ".venv" / "bin" / "python"
    return VENVS / stack.venv / "bin" / "python" if stack.venv else Path(sys.executable)


def folder(stack: Stack) -> Path:
    """Where a stack's processes run; ours finds its package there."""
    if stack.is_before:
        return Path(os.environ["BENCH_BEFORE"]).resolve()
    return PEERS if stack.venv else BENCH.parent


def make(stacks: Iterable[Stack]) -> None:
    """Makes the virtual environments of the stacks that are missing or have other requirements."""
    for venv in sorted({stack.venv for stack in stacks if stack.venv}):
        wanted, made = requirements(venv).read_text(), VENVS / venv / "requirements.txt"
        if made.is_file() and made.read_text() == wanted:
            continue
        sys.stderr.write(f"installing {requirements(venv).relative_to(BENCH)}\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENVS / venv], check=True)
        pip = [str(VENVS / venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(requirements(venv))], check=True)
        made.write_text(wanted)


def need_program(name: str) -> str:
    """The path of a program that Debian has as a package of the same name.

    Raises:
        MissingProgram: it is not on PATH.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingProgram(f"this bench needs {name}; on Debian and Ubuntu: sudo apt install {name}")
    return path
