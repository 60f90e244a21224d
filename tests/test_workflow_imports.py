"""Whether the config's workflows can be imported is tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from trigger.config.code import Code
from trigger.workflows.importing import ImportCheck


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text("def work(value):\n    return value\n\nnumber = 3\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('no database')\n")
    (tmp_path / "typo.py").write_text("def work(value)\n    return value\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(4)\n")
    (tmp_path / "dies.py").write_text("import os\nos._exit(0)\n")
    (tmp_path / "talks.py").write_text("print('hello', '\\x00', '{}')\ndef work(value): ...\n")
    (tmp_path / "needs.py").write_text("import no_such_library\n")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("missing:work", "there is no module 'missing'"),
        ("good:absent", "'good' has no such callable"),
        ("good:number", "'good:number' is a int, not a callable"),
        ("broken:work", "importing 'broken' raised RuntimeError: no database"),
        ("typo:work", "importing 'typo' raised SyntaxError"),
        ("needs:work", "there is no module 'no_such_library' (looked for 'needs')"),
        ("leaves:work", "importing it calls sys.exit(4)"),
        ("dies:work", "importing ended the process"),
    ],
)
def test_a_workflow_that_can_not_be_imported_is_named_with_the_reason(
    folder: Path, reference: str, reason: str
) -> None:
    assert reason in ImportCheck(folder)([reference], Code())[reference]


def test_the_good_ones_beside_a_bad_one_are_not_blamed(folder: Path) -> None:
    assert set(ImportCheck(folder)(["good:work", "talks:work", "broken:work"], Code())) == {"broken:work"}


def test_the_code_is_not_imported_into_the_process_that_asks(folder: Path) -> None:
    ImportCheck(folder)(["good:work"], Code())
    assert "good" not in sys.modules


def test_what_was_good_once_is_not_tried_again(folder: Path) -> None:
    check = ImportCheck(folder)
    assert check(["good:work"], Code()) == {}
    (folder / "good.py").unlink()
    assert check(["good:work"], Code()) == {}
    assert "broken:work" in check(["good:work", "broken:work"], Code())


def test_a_web_process_can_try_imports_again_and_again(folder: Path) -> None:
    """In a real thread of a process that gevent has patched, a second child was waited for forever."""
    (folder / "slow.py").write_text("import time\ntime.sleep(0.6)\ndef work(value): ...\n")
    script = f"""
from gevent import monkey
monkey.patch_all(subprocess=False)
from pathlib import Path
from trigger.config.code import Code
from trigger.offload import offload
from trigger.workflows.importing import ImportCheck
for _ in range(3):
    print(offload(ImportCheck(Path({str(folder)!r})), ["slow:work", "broken:work"], Code()))
"""
    child = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert child.stdout.count("'broken:work'") == 3, child.stderr
