"""docs/operations.md: the lists of commands for upgrade, roll back, back up, restore and move do what they say.

They run in bash as they stand. Only the paths and the port are others, and `sudo`, `systemctl`, `make`, `scp` are
stand-ins: here is no systemd, and nobody needs to become another user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import free_port, needs_program
from tests.support import ROOT, WORKFLOWS, eventually
from tests.test_docs import blocks

PAGE = ROOT / "docs/operations.md"

CONFIG = """\
workflows:
  echo: work:echo
  noted: work:noted
modules:
  shop:
    methods:
      echo: {enabled: true, auth: {mode: token, token: "${SHOP_TOKEN}"}, workflow: echo}
"""

STAND_INS = {
    "sudo": 'if [ "$1" = -u ]; then shift 2; fi\nexec "$@"\n',
    "make": 'echo "make $*" >> ROOT/made\n',
    "scp": 'echo "scp $*" >> ROOT/made\n',
    # Starts what the unit starts, in the unit's environment.
    "systemctl": """\
run() { cd ROOT/opt/trigger; set -a; TRIGGER_DATA=ROOT/var/lib/trigger; . ROOT/etc/trigger/environment; set +a; }
pid() { head -1 ROOT/var/lib/trigger/lock; }
case "$*" in
"start trigger" | "enable --now trigger")
    run
    mkdir -p "$TRIGGER_DATA"
    setsid .venv/bin/python -m trigger up >> ROOT/log 2>&1 < /dev/null &
    for _ in $(seq 600); do curl -sf "http://$TRIGGER_BIND/readyz" > /dev/null && exit; sleep 0.1; done; exit 1 ;;
"stop trigger" | "disable --now trigger")
    was=$(pid); kill $was; while kill -0 $was 2> /dev/null; do sleep 0.1; done ;;
"reload trigger") run; exec .venv/bin/python -m trigger reload ;;
*) exit 1 ;;
esac
""",
}


def lists(heading: str) -> list[str]:
    """The lists of commands below a heading of the page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


class Machine:
    """A machine of its own below a folder, with a checkout in /opt/trigger and a service."""

    def __init__(self, root: Path, origin: Path) -> None:
        self.root, self.port = root, free_port()
        for folder in ("bin", "opt", "srv/trigger", "etc/trigger", "etc/systemd/system", "var/lib", "var/backups"):
            (root / folder).mkdir(parents=True)
        for name, script in STAND_INS.items():
            path = root / "bin" / name
            path.write_text("#!/bin/bash\n" + script.replace("ROOT", str(root)))
            path.chmod(0o755)
        git(root, "clone", "--quiet", "--branch", "v0.1.0", str(origin), "opt/trigger")
        (root / "opt/trigger/.venv").symlink_to(Path(sys.executable).parents[1])
        (root / "srv/trigger/config.yaml").write_text(CONFIG)
        (root / "srv/trigger/work.py").write_text(WORKFLOWS)
        (root / "etc/trigger/environment").write_text(
            f"TRIGGER_CONFIG={root}/srv/trigger/config.yaml\nTRIGGER_BIND=127.0.0.1:{self.port}\n"
            "SHOP_TOKEN=a-token-of-some-length\nTRIGGER_WORKERS=1\n"
        )

    def do(self, commands: str) -> str:
        """Run commands as they are on the page; what they print."""
        for folder in ("opt/trigger", "srv/trigger", "etc/trigger", "etc/systemd", "var/lib/trigger", "var/backups"):
            commands = commands.replace(f"/{folder}", f"{self.root}/{folder}")
        commands = commands.replace("-o trigger -g trigger ", "").replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", commands],
            env={**kept, "PATH": f"{self.root}/bin:{os.environ['PATH']}"},
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, (commands, done.stdout, done.stderr, self.log())
        return done.stdout

    def log(self) -> str:
        log = self.root / "log"
        return log.read_text()[-3000:] if log.exists() else ""

    def version(self) -> str:
        return git(self.root / "opt/trigger", "describe", "--tags").strip()

    def made(self) -> list[str]:
        made = self.root / "made"
        return made.read_text().splitlines() if made.exists() else []

    def call(self) -> str:
        """The uid of a call."""
        line = "curl -sS -H token:a-token-of-some-length -d '{\"a\":1}' http://127.0.0.1:8080/v1/api/shop/echo/async"
        (uid,) = re.findall(r"[0-9]{25}", self.do(line))
        return str(uid)

    def succeeds(self, uid: str) -> None:
        line = f"curl -sS -H token:a-token-of-some-length http://127.0.0.1:8080/v1/executions/{uid}"
        eventually(lambda: '"status":"succeeded"' in self.do(line).replace(" ", ""))

    def stop(self) -> None:
        if (self.root / "var/lib/trigger/lock").exists():
            try:
                self.do("systemctl stop trigger")
            except AssertionError:
                pass  # it does not run


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *names, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of the service."""
    needs_program("git")
    folder = tmp_path_factory.mktemp("origin")
    for name in ("app.py", "wsgi.py", "gunicorn.conf.py", "config.yaml", "Makefile"):
        shutil.copy(ROOT / name, folder)
    for name in ("trigger", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    for version in ("0.1.0", "0.2.0"):
        init = folder / "trigger/__init__.py"
        init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "-m", version)
        git(folder, "tag", f"v{version}")
    return folder


@pytest.fixture
def machine(origin: Path, tmp_path: Path) -> Iterator[Machine]:
    needs_program("curl")
    made = Machine(tmp_path / "machine", origin)
    made.do("systemctl start trigger")
    yield made
    made.stop()


def ready(said: str) -> bool:
    return '"status":"ready"' in said.replace(" ", "")


def test_an_upgrade_and_the_way_back(machine: Machine) -> None:
    before = machine.call()
    (upgrade,), (back,) = lists("Upgrade"), lists("Roll back")
    assert ready(machine.do(upgrade))
    assert (machine.version(), machine.made()) == ("v0.2.0", ["make install"])
    assert "reloaded" in machine.log()
    machine.succeeds(before)
    machine.succeeds(machine.call())
    assert ready(machine.do(back))
    assert machine.version() == "v0.1.0"
    machine.succeeds(machine.call())


def test_a_backup_brings_back_what_was_there(machine: Machine) -> None:
    kept = machine.call()
    machine.succeeds(kept)
    (back_up,), (restore,) = lists("Back up"), lists("Restore")
    machine.do(back_up)
    for archive in (machine.root / "var/backups").iterdir():
        assert archive.stat().st_mode & 0o077 == 0
    lost = machine.call()
    (machine.root / "srv/trigger/config.yaml").write_text("modules: {}\n")
    machine.do(restore)
    machine.succeeds(kept)
    machine.succeeds(machine.call())
    assert "executionNotFound" in machine.do(
        f"curl -sS -H token:a-token-of-some-length http://127.0.0.1:8080/v1/executions/{lost}"
    )


def test_a_move_takes_all_with_it(machine: Machine, origin: Path, tmp_path: Path) -> None:
    uid = machine.call()
    there, here = lists("Move to another machine")
    machine.do(there)
    (copied,) = machine.made()
    assert copied.endswith(" new.example.org:" + str(machine.root) + "/var/backups/")
    # The other machine has the same paths.
    shutil.rmtree(machine.root / "var/lib/trigger")
    for folder in ("srv/trigger", "etc/trigger"):
        shutil.rmtree(machine.root / folder)
    machine.do(here)
    machine.succeeds(uid)
    machine.succeeds(machine.call())


def test_no_command_in_the_docs_sets_what_bash_does_not_let() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in blocks(page, "sh"):
            assert not re.search(r"\$\{?(UID|EUID|PPID)\b|\b(UID|EUID|PPID)=", block), page.name
