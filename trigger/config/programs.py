"""Whether the programs and folders that steps name are there, on this machine and now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trigger.config.scalars import shown

_FIRST = 256  # bytes: the kernel reads no more of a script's first line


def missing(given: Mapping[str, Any], folder: Path, search: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what a step can't use, with the path of the value in the step.

    `folder` is the config's; `search` is the PATH that names without "/" are looked up on.
    """
    argv, cwd = given.get("run"), given.get("cwd")
    if isinstance(argv, list) and isinstance(argv[0], str):
        wrong = _program(argv[0], folder, search)
        if wrong:
            yield ("run", 0), wrong
    if isinstance(cwd, str) and not (folder / cwd).is_dir():
        there = "is not a folder" if (folder / cwd).exists() else "does not exist"
        yield ("cwd",), f"{shown(cwd)} {there}; it was looked for as {str(folder / cwd)!r}"


def _program(name: str, folder: Path, search: str) -> str | None:
    if "/" not in name:
        found = on_path(name, search)
        if found is not None:
            return broken_script(found)
        return f"there is no program {shown(name)} on PATH; one beside the config is named as {shown(f'./{name}')}"
    path = folder / name
    if _runs(path):
        return broken_script(path)
    if path.is_dir():
        return f"{shown(name)} is a folder"
    if path.exists():
        return f"{shown(name)} is not executable by this user: chmod +x it"
    return f"there is no program {shown(name)}; it was looked for as {str(path)!r}"


def on_path(name: str, search: str) -> Path | None:
    """Return the program that a name without "/" stands for on a PATH."""
    return next((path for part in search.split(os.pathsep) if _runs(path := Path(part or ".") / name)), None)


def broken_script(path: Path) -> str | None:
    """Return why the first line of a script names nothing that could run it, or None.

    The system says "No such file or directory" then, though the script is there.
    """
    try:
        with path.open("rb") as file:
            line = file.read(_FIRST)
    except OSError:
        return None
    line, ended, _ = line.partition(b"\n")
    if not line.startswith(b"#!"):
        return None
    if ended and line.endswith(b"\r"):
        return f"{shown(str(path))} has the line ends of Windows (CR LF): save it with LF"
    words = os.fsdecode(line[2:]).split()
    if words and not Path(words[0]).exists():
        return f"{shown(str(path))} is a script for {words[0]}, which is not on this machine: see its first line"
    return None


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
