"""A changed Python file of workflows is taken up, or refused, like an edit of the config (found.md 17)."""

from __future__ import annotations

import pytest

from tests.support import eventually
from tests.worker.conftest import Rig
from trigger.store import Status

HELPER = "def number():\n    return {}\n"
FRESH = "import helper\n\n\ndef number(value):\n    return helper.number()\n"


@pytest.fixture
def fresh(rig: Rig) -> Rig:
    """A worker with a workflow of two modules."""
    (rig.folder / "helper.py").write_text(HELPER.format(1))
    (rig.folder / "fresh.py").write_text(FRESH)
    rig.configure("  fresh: fresh:number\n  stepped: {steps: [{name: a, python: 'fresh:number'}]}\n")
    rig.start()
    assert rig.ended(rig.submit("fresh")).output == 1
    return rig


def said(rig: Rig, text: str) -> list[str]:
    return [line for line in rig.log().splitlines() if text in line]


def test_an_edited_module_that_another_imports_is_taken_up_and_the_log_names_the_file(fresh: Rig) -> None:
    (fresh.folder / "helper.py").write_text(HELPER.format(2))
    eventually(lambda: said(fresh, "the edited code is in force: helper.py, version"))
    assert fresh.ended(fresh.submit("fresh")).output == 2
    assert fresh.ended(fresh.submit("stepped")).output == 2


def test_a_broken_module_is_refused_and_the_last_good_one_runs_on(fresh: Rig) -> None:
    (fresh.folder / "helper.py").write_text("def number(:\n")
    eventually(lambda: said(fresh, "is not taken up"))
    assert said(fresh, "importing 'fresh' raised SyntaxError")
    for workflow in ("fresh", "stepped", "fails", "fresh", "stepped"):  # one that fails takes its process with it
        record = fresh.ended(fresh.submit(workflow, {"sku": "A1"}))
        assert record.output == (None if workflow == "fails" else 1)
    (fresh.folder / "helper.py").unlink()
    eventually(lambda: said(fresh, "there is no module 'helper'"))
    assert fresh.ended(fresh.submit("fresh")).output == 1
    (fresh.folder / "helper.py").write_text(HELPER.format(3))
    eventually(lambda: said(fresh, "the edited code is in force: helper.py"))
    assert fresh.ended(fresh.submit("fresh")).output == 3


def test_a_worker_that_starts_while_a_module_is_broken_runs_the_last_good_one(fresh: Rig) -> None:
    (fresh.folder / "helper.py").write_text("def number(:\n")
    eventually(lambda: said(fresh, "is not taken up"))
    fresh.close()
    fresh.start()
    assert fresh.ended(fresh.submit("fresh")).output == 1
    (fresh.folder / "helper.py").write_text(HELPER.format(4))
    eventually(lambda: said(fresh, "the edited code is in force"))
    assert fresh.ended(fresh.submit("fresh")).output == 4


def test_a_traceback_shows_the_lines_that_have_run(rig: Rig) -> None:
    text = "import time\n\n\ndef fails(value):\n    time.sleep(1)\n    raise ValueError('no')  # the {} line\n"
    (rig.folder / "late.py").write_text(text.format("old"))
    rig.configure("  late: late:fails\n")
    rig.start()
    uid = rig.submit("late")
    eventually(lambda: rig.record(uid).status is Status.RUNNING)
    (rig.folder / "late.py").write_text(text.format("new"))
    assert "# the old line" in str(rig.ended(uid).traceback)
    eventually(lambda: said(rig, "the edited code is in force: late.py"))
    assert "# the new line" in str(rig.ended(rig.submit("late")).traceback)


def test_a_module_that_takes_long_to_import_costs_the_running_execution_nothing(fresh: Rig) -> None:
    """The worker beats while an edit's imports are tried: else it would lose what it runs."""
    fresh.start()  # which would take over what the other one has lost
    uid = fresh.submit("noted", {"seconds": 14})
    eventually(lambda: fresh.record(uid).status is Status.RUNNING)
    (fresh.folder / "helper.py").write_text("import time\n\ntime.sleep(12)\n" + HELPER.format(5))
    record = fresh.ended(uid, within=60)
    assert (record.status, record.attempt) == (Status.SUCCEEDED, 1)
    assert fresh.evidence() == {f"S {uid}": 1, f"D {uid}": 1}


def test_a_worker_that_is_to_stop_does_not_wait_for_an_import(rig: Rig) -> None:
    """found.md 17. When the test gives up waiting, the import would still go on."""
    number = HELPER.format(1).replace("()", "(value)")
    (rig.folder / "lazy.py").write_text(number)
    rig.configure("  lazy: lazy:number\n")
    worker = rig.start()
    assert rig.ended(rig.submit("lazy")).output == 1
    begun = rig.folder / "begun"
    slow = f"import pathlib, time\n\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(25)\n"
    (rig.folder / "lazy.py").write_text(slow + number)
    eventually(begun.exists)
    worker.terminate()
    assert worker.wait(12) == 0
    assert not said(rig, "is not taken up")


def test_each_edit_is_told_once_however_many_processes_see_it(fresh: Rig) -> None:
    for _ in range(2):
        fresh.start()
    path = fresh.folder / "config.yaml"
    good = path.read_text()
    for number in (1, 2):
        path.write_text(good + "wrokflows: {}\n")
        eventually(lambda number=number: len(said(fresh, "did you mean 'workflows'")) == number)  # type: ignore[misc]
        path.write_text(good.replace("retention: 1h", f"retention: {number + 1}h"))
        eventually(lambda number=number: len(said(fresh, "the edited config is in force")) == number)  # type: ignore[misc]
    (fresh.folder / "helper.py").write_text(HELPER.format(2))
    eventually(lambda: said(fresh, "the edited code is in force"))
    for _ in range(3):
        fresh.ended(fresh.submit("noted", {"seconds": 0.5}))
    assert len(said(fresh, "is not taken up")) == 2
    assert len(said(fresh, "the edited config is in force")) == 2
    assert len(said(fresh, "the edited code is in force")) == 1
