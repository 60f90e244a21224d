"""Which Python files a workflow is made of is found without importing any."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config.code import Code, code_of


def found(folder: Path, *references: str) -> set[str]:
    return set(code_of(references, folder).modules)


def test_a_module_and_all_that_it_imports_from_the_project_are_found(tmp_path: Path) -> None:
    for name, text in {
        "shop.py": "import json, yaml\nimport stock\ndef f(v):\n    from parts.deep import inner\n",
        "stock.py": "from parts import near\n",
        "parts/__init__.py": "from . import always\n",
        "parts/near.py": "from .deep.inner import number\n",
        "parts/always.py": "",
        "parts/deep/inner.py": "number = 1\n",  # a package without a file of its own
        "unused.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert found(tmp_path, "shop:f") == {"shop", "stock", "parts", "parts.near", "parts.always", "parts.deep.inner"}


def test_the_standard_library_installed_packages_and_our_own_code_are_not_the_projects(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os, sys, email.message, redis\nfrom trigger.workflows import current\n")
    assert found(tmp_path, "shop:f", "redis:Redis", "trigger.errors:ConfigError") == {"shop"}


@pytest.mark.parametrize("text", ["def f(:\n", "\x00", "# -*- coding: nonsense -*-\n", "(" * 10_000])
def test_a_file_that_is_no_python_is_found_all_the_same(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.py").write_text(text)
    assert found(tmp_path, "shop:f") == {"shop"}


def test_a_module_that_is_not_there_is_looked_for_where_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import absent\n")
    stamps = code_of(["shop:f", "parts.inner:g"], tmp_path).stamps
    assert stamps.keys() == {tmp_path / name for name in ("shop.py", "absent.py", "parts.py")}
    assert stamps[tmp_path / "absent.py"] is None


def test_the_files_that_have_changed_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text("")
    before = code_of(["a:f"], tmp_path)
    assert before.changed_since(before) == ()
    (tmp_path / "b.py").write_text("import c\n")
    (tmp_path / "c.py").write_text("")
    assert code_of(["a:f"], tmp_path).changed_since(before) == (tmp_path / "b.py", tmp_path / "c.py")
    assert Code().changed_since(before) == (tmp_path / "a.py", tmp_path / "b.py")
