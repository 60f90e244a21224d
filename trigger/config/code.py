"""The Python files of workflows: those of the project, found by reading what each imports. Nothing is imported here.

A file of the standard library or of an installed package is none of the project's, nor is one of ours. What a program
imports by a name that it computes is not found: it is imported as Python does, and an edit of it is not noticed.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import FrozenImporter
from pathlib import Path

from trigger.config.files import Stamp, read, stamp

# What is larger, or comes after so many, is imported as Python does, and not watched.
MAX_FILE = 1024 * 1024  # bytes
MAX_FILES = 1_000

_LIBRARIES = ("site-packages", "dist-packages")
_OURS = "trigger"


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file as it was read."""

    path: Path
    is_package: bool
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Code:
    """The project's modules that workflows are made of, by their names.

    `stamps` is the state each file was read in, also of those that are named and not there (yet).
    """

    modules: Mapping[str, Source] = field(default_factory=dict)
    stamps: Mapping[Path, Stamp | None] = field(default_factory=dict, repr=False, compare=False)

    def parts(self) -> Iterator[bytes]:
        """Yield the parts of a digest of the code; they do not depend on the folder that holds the project."""
        for name, source in sorted(self.modules.items()):
            yield from (b"module", name.encode(), source.text)

    def changed_since(self, before: Code) -> tuple[Path, ...]:
        """The files that are other ones than before, came, or went."""
        names = sorted({*self.modules, *before.modules})
        found = ((self.modules.get(name), before.modules.get(name)) for name in names)
        return tuple((now or then).path for now, then in found if now != then)  # type: ignore[union-attr]


def code_of(references: Iterable[str], folder: Path) -> Code:
    """The code of "package.module:callable" references, for a process whose path begins with `folder`."""
    search = _Search(folder)
    modules: dict[str, Source] = {}
    stamps: dict[Path, Stamp | None] = {}
    seen: set[str] = set()
    names = [(reference.partition(":")[0], True) for reference in references]
    while names:
        name, is_module = names.pop()
        if name in seen:
            continue
        seen.add(name)
        found, missing = search.find(name)
        if missing is not None and is_module:
            stamps.setdefault(missing, None)  # it may come
        for module, path, is_package in found:
            if module in modules or len(modules) >= MAX_FILES:
                continue
            try:
                text, stamps[path] = read(path, MAX_FILE)
            except ValueError:
                stamps[path] = stamp(path)
                continue
            modules[module] = Source(path, is_package, text)
            names += _imported(module, is_package, text)
    return Code(modules, stamps)


class _Search:
    """Looks for modules where Python would, on the path of a process that begins with `folder`."""

    def __init__(self, folder: Path) -> None:
        library = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
        self._roots = [folder, *(Path(entry or ".").absolute() for entry in sys.path)]
        self._libraries = tuple(one for one in library if one)

    def find(self, name: str) -> tuple[list[tuple[str, Path, bool]], Path | None]:
        """The project's modules that importing `name` runs: name, file, and whether it is a package; and where a file
        for it would be looked for first, if there is none."""
        parts = name.split(".")
        if not all(parts) or parts[0] == _OURS or parts[0] in sys.builtin_module_names:
            return [], None
        if FrozenImporter.find_spec(parts[0]) is not None:
            return [], None
        found: list[tuple[str, Path, bool]] = []
        folders = self._roots
        for number, part in enumerate(parts, 1):
            at, path, inside = _look(part, folders)
            if at is None and not inside:
                return found, folders[0] / f"{part}.py"
            if at is not None and self._is_foreign(at):
                return found, None
            if path is not None:
                found.append((".".join(parts[:number]), path, bool(inside)))
            if not inside:
                break
            folders = inside
        return found, None

    def _is_foreign(self, folder: Path) -> bool:
        return any(part in _LIBRARIES for part in folder.parts) or any(map(folder.is_relative_to, self._libraries))


def _look(name: str, folders: Sequence[Path]) -> tuple[Path | None, Path | None, list[Path]]:
    """The folder that has a module, its file, and the folders that its own modules are in. A package without an
    `__init__.py` has no file, and may lie in several folders."""
    portions = []
    for folder in folders:
        inside = folder / name
        if (package := inside / "__init__.py").is_file():
            return folder, package, [inside]
        if (module := folder / f"{name}.py").is_file():
            return folder, module, []
        if inside.is_dir():
            portions.append(inside)
    return None, None, portions


@lru_cache(maxsize=2 * MAX_FILES)
def _imported(module: str, is_package: bool, text: bytes) -> tuple[tuple[str, bool], ...]:
    """The names that a module's text imports, each with whether it is a module for sure: `from a import b` may mean a
    function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ()  # importing it will say what is wrong
    found: list[tuple[str, bool]] = []
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, True) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            name = ".".join(part for part in (base, node.module) if part)
            found += [(name, True), *((f"{name}.{alias.name}", False) for alias in node.names)]
    return tuple(dict.fromkeys(found))
