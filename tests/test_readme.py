"""The README's own API, made as a new user makes it: paste each block into bash, in order."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import free_port, needs_program
from tests.running import UID
from tests.support import ROOT, eventually

SECTION = "Add an API in a minute"


def pasted(section: str) -> list[str]:
    """The blocks of a section of the README, in order. All of them are for bash."""
    text = (ROOT / "README.md").read_text().split(f"\n## {section}\n")[1].partition("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"sh"}
    return [block for _, block in blocks]


def checkout(folder: Path) -> Path:
    """What `git clone` and one `make run` leave in an empty folder: the code, and the requirements in .venv."""
    for program in ("bash", "curl", "make"):
        needs_program(program)
    code = folder / "trigger"
    code.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, code)
    for name in ("trigger", "examples"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    install_requirements(code)
    return code


def install_requirements(code: Path) -> None:
    """A .venv that finds the packages of the tests, pip among them, but installs into itself."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", code / ".venv"], check=True)
    (packages,) = (code / ".venv/lib").glob("python*/site-packages")
    (packages / "those-of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (code / ".venv/requirements.stamp").touch()


class Terminal:
    """A bash in the folder of the code. Blocks say port 8080; here it is one that is free."""

    def __init__(self, code: Path, port: int) -> None:
        self._code = code
        self._address = f"127.0.0.1:{port}"
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self._environ = {**kept, "HOME": str(code.parent), "TRIGGER_BIND": self._address}

    def start(self, block: str, output: Path) -> subprocess.Popen[bytes]:
        """Paste a block that runs the service."""
        with output.open("wb") as file:
            return subprocess.Popen(
                ["bash", "-c", block],
                cwd=self._code,
                env=self._environ,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def paste(self, block: str) -> subprocess.CompletedProcess[str]:
        text = block.replace("127.0.0.1:8080", self._address)
        command = ["bash", "-c", text]
        return subprocess.run(command, cwd=self._code, env=self._environ, capture_output=True, text=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(checkout(tmp_path), free_port())


@pytest.fixture
def running(terminal: Terminal, tmp_path: Path) -> Iterator[Path]:
    """The first block was pasted, and the service it starts is ready; what that has said."""
    said = tmp_path / "said"
    service = terminal.start(pasted(SECTION)[0], said)

    def ready() -> bool:
        assert service.poll() is None, said.read_text()
        return "Ctrl-C stops it." in said.read_text()

    try:
        eventually(ready, within=60)
        yield said
    finally:
        os.killpg(service.pid, signal.SIGINT)  # as Ctrl-C does
        service.wait(60)


def test_the_readmes_own_api_works_when_it_is_pasted(terminal: Terminal, running: Path, tmp_path: Path) -> None:
    """found.md 36"""
    _, call, check = pasted(SECTION)
    assert " WARNING " not in running.read_text()

    def answered() -> str:
        done = terminal.paste(call)
        assert done.returncode == 0, done
        return done.stdout if '"status":"succeeded"' in done.stdout else ""

    answer = eventually(answered)
    assert UID.search(answer)
    assert '"output":{"ordered":5}' in answer

    checked = terminal.paste(check)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "1 API, 1 of them enabled: no mistakes" in checked.stdout

    assert (tmp_path / "shop/shop.token").stat().st_mode & 0o077 == 0
    assert (tmp_path / "trigger/config.yaml").read_bytes() == (ROOT / "config.yaml").read_bytes()


def test_the_readmes_own_api_needs_nothing_but_the_folder_it_makes() -> None:
    """Neither the shell's environment nor the tracked config has a part in it: check and service see the same."""
    first = pasted(SECTION)[0]
    assert set(re.findall(r"\$\{([A-Z_]+)", first)) == {"TRIGGER_ADMIN_PASSWORD"}
    assert all(path.startswith("../shop") for path in re.findall(r"> *(\S+)", first.replace("<<", "")))


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package with one module of its name, ready to be installed without a network."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_the_packages_of_a_workflow_are_listed_beside_its_config_and_installed_by_make(
    terminal: Terminal, tmp_path: Path
) -> None:
    """found.md 42"""
    shop = tmp_path / "own shop"
    shop.mkdir()
    listed = shop / "requirements.txt"
    install = "TRIGGER_CONFIG='../own shop/config.yaml' make install"
    version = ".venv/bin/python -c 'import pricing; print(pricing.VERSION)'"

    assert (terminal.paste(install).returncode, terminal.paste(install).stdout) == (0, "")  # nothing is listed
    listed.write_text(f"{wheel(tmp_path, 'pricing', '1.0')}\n")
    assert "installing the packages of ../own shop/requirements.txt" in terminal.paste(install).stdout
    assert terminal.paste(version).stdout == "1.0\n"
    assert terminal.paste(install).stdout == "", "they are installed once"

    listed.write_text(f"{wheel(tmp_path, 'pricing', '2.0')}\n")
    terminal.paste(install)
    assert terminal.paste(version).stdout == "2.0\n"

    terminal.paste("make clean")
    install_requirements(tmp_path / "trigger")
    terminal.paste(install)
    assert terminal.paste(version).stdout == "2.0\n"


def test_a_package_that_would_break_the_service_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/requirements.txt").write_text(f"{wheel(tmp_path, 'click', '1.0')}\n")
    done = terminal.paste("TRIGGER_CONFIG=../shop/config.yaml make install")
    assert done.returncode != 0
    assert "Cannot install click 1.0" in done.stderr
