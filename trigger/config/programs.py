"""Whether the programs and folders that steps name are there, on this machine and now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trigger.config.scalars import shown


def missing(given: Mapping[str, Any], folder: Path, search: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a step can't use, with the path of the value in the step.

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
        if any(_runs(Path(part or ".") / name) for part in search.split(os.pathsep)):
            return None
        return f"there is no program {shown(name)} on PATH; one beside the config is named as {shown(f'./{name}')}"
    path = folder / name
    if _runs(path):
        return None
    if path.is_dir():
        return f"{shown(name)} is a folder"
    if path.exists():
        return f"{shown(name)} is not executable by this user: chmod +x it"
    return f"there is no program {shown(name)}; it was looked for as {str(path)!r}"


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
