"""The systemd units are what systemd accepts, and start commands that exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import needs_program
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


@pytest.mark.parametrize("unit", [*UNITS, *FOLDER.glob("*.socket")], ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    needs_program("systemd-analyze")
    text = unit.read_text().replace("/opt/trigger/.venv/bin/python", sys.executable)
    copy = tmp_path / unit.name.replace("@", "@default")
    copy.write_text(text.replace("/opt/trigger", str(ROOT)).replace("User=trigger", "User=root"))
    if unit.suffix == ".socket":  # which needs its service beside it
        (tmp_path / "trigger.service").write_text("[Service]\nExecStart=/bin/true\n")
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_starts_a_command_of_ours(unit: Path) -> None:
    (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    words = start.replace("%i", "default").split()
    said = subprocess.run([sys.executable, *words[1:4], "--help"], capture_output=True, check=False, cwd=ROOT)
    assert said.returncode == 0
    assert "Restart=always" in unit.read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_can_be_reloaded(unit: Path) -> None:
    (reload,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecReload=")]
    assert reload.endswith(("python -m trigger reload", "kill -HUP $MAINPID"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_console_can_switch_apis_of_a_config_below_etc(unit: Path) -> None:
    """found.md 43"""
    lines = unit.read_text().splitlines()
    assert "ReadWritePaths=-/etc/trigger" in lines or "ProtectSystem=full" not in lines
