"""The data folder: private, and in use once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trigger.data_folder import DataFolder
from trigger.errors import StartError

# Takes the folder, says so, holds it until it is killed. With "child" it hands the lock to a child that outlives it.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from trigger.data_folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
if sys.argv[2:] == ["child"]:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[folder.lock_fd])
    print(child.pid, flush=True)
else:
    print("held", flush=True)
    time.sleep(60)
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def hold(path: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Another process with the folder, and the line it prints once it has it."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path, *arguments], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout as output:
        return holder, output.readline().strip()


def test_it_is_made_with_its_parents_and_for_its_owner_only(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "deep" / "data") as folder:
        assert mode(folder.path) == 0o700
        assert mode(folder.path / "lock") == 0o600


def test_a_second_service_is_refused_and_told_which_process_holds_it(tmp_path: Path) -> None:
    holder, _ = hold(tmp_path / "data")
    try:
        with pytest.raises(StartError, match=rf"in use by another Trigger \(process {holder.pid}\); stop that one"):
            DataFolder(tmp_path / "data")
    finally:
        holder.kill()
        holder.wait()


def test_it_is_free_again_after_its_holder_is_killed(tmp_path: Path) -> None:
    holder, _ = hold(tmp_path / "data")
    holder.kill()
    holder.wait()
    with DataFolder(tmp_path / "data"):
        pass


def test_it_stays_locked_until_a_child_that_has_the_lock_is_gone_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, child = hold(tmp_path / "data", "child")
    holder.wait()
    monkeypatch.setattr("trigger.data_folder.PATIENCE_SECONDS", 0.1)
    try:
        with pytest.raises(StartError, match="in use"):
            DataFolder(tmp_path / "data")
    finally:
        os.kill(int(child), signal.SIGKILL)
    monkeypatch.setattr("trigger.data_folder.PATIENCE_SECONDS", 10)
    with DataFolder(tmp_path / "data"):
        pass


def test_it_can_be_taken_again_after_it_was_closed(tmp_path: Path) -> None:
    for _ in range(2):
        with DataFolder(tmp_path / "data"):
            pass


def test_an_empty_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with DataFolder(tmp_path / "data") as folder:
        assert mode(folder.path) == 0o700


def test_a_folder_of_ours_that_was_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        folder.path.chmod(0o755)
    with DataFolder(tmp_path / "data") as folder:
        assert mode(folder.path) == 0o700


def test_a_shared_folder_with_other_files_in_it_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "letter").write_text("somebody's")
    with pytest.raises(StartError, match=f"chmod 700 {shared}"):
        DataFolder(shared)
    assert mode(shared) == 0o755
    assert os.listdir(shared) == ["letter"]


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"can't be used: Not a directory; set TRIGGER_DATA"):
        DataFolder(tmp_path / "data")
