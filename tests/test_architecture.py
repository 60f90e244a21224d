"""The rules of the layout: imports run one way, and what only one part may know stays there."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "trigger"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom to the top; a part imports only from those above it in this list, and from itself.
LAYERS = [
    {"errors", "invocation", "lifeline", "logs", "offload", "strict_json"},
    {"templates", "fields", "signatures", "data_folder", "kept_files", "redis_server"},
    {"config"},
    {"inputs", "startup"},
    {"store"},
    {"web", "workflows"},
    {"inforce", "console", "worker"},
    {"up"},
    {"cli", "__main__"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    for name in imports(ast.parse(path.read_text())):
        words = name.split(".")
        if words[0] == "trigger" and len(words) > 1 and words[1] in RANK and words[1] != part:
            assert RANK[words[1]] <= RANK[part], f"{part} imports {words[1]}, which stands above it"
            assert RANK[words[1]] < RANK[part] or part == "__main__", f"{part} and {words[1]} stand side by side"
        assert words[0] not in ("app", "wsgi"), "trigger never imports the app"


def modules_that(condition: str) -> set[str]:
    """The parts whose source imports, or names, what the condition says."""
    return {part_of(path) for path in FILES if any(name.split(".")[0] == condition for name in imports(parsed(path)))}


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


def test_only_the_worker_imports_rq() -> None:
    assert modules_that("rq") == {"worker"}


def test_only_config_reads_yaml() -> None:
    assert modules_that("yaml") == {"config"}


def test_only_the_composition_roots_pass_the_environment_on() -> None:
    readers = {path for path in FILES if "os.environ" in path.read_text() or "getenv" in path.read_text()}
    # One takes back what a step has done to the variables of its process, two hand them to their children, and none
    # reads anything for its own use.
    others = {path for path in readers if part_of(path) != "cli"}
    assert {path.name for path in others} == {"traces.py", "importing.py", "supervisor.py"}


def test_only_the_store_knows_our_redis_keys() -> None:
    assert {part_of(path) for path in FILES if "'trigger:" in path.read_text() or '"trigger:' in path.read_text()} == {
        "store"
    }


def test_lua_is_in_files_of_its_own() -> None:
    assert [path.name for path in FILES if "redis.call" in path.read_text()] == []


def test_only_the_store_knows_keys_of_rq() -> None:
    assert {part_of(path) for path in FILES if "'rq:" in path.read_text() or '"rq:' in path.read_text()} == {"store"}


def test_nothing_unpickles() -> None:
    for path in FILES:
        assert "pickle" not in {name.split(".")[0] for name in imports(parsed(path))}


# Classes that still have to get a name of their own: web/server.py's is gunicorn's settings.
NAMED_TWICE = {"Settings"}


def test_no_two_public_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in NAMED_TWICE} == {}


def test_only_one_module_names_fields_of_a_job() -> None:
    """Others ask for a list that it declares, and have it make a value of the answer."""
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                reads = node.func.attr in ("hget", "hmget", "hgetall") and "id='JOB'" in ast.dump(node.args[0])
                assert not reads or isinstance(node.args[-1], ast.Name), f"{path}:{node.lineno}"


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    child = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(child.stdout.split())


def test_the_web_process_imports_no_workflow_code() -> None:
    loaded = loaded_by("import app")
    assert "flask" in loaded
    assert not {name for name in loaded if name.split(".")[0] == "examples"}


def test_the_worker_imports_no_flask() -> None:
    loaded = loaded_by("import trigger.cli, trigger.worker")
    assert "rq" in loaded
    assert "flask" not in loaded
