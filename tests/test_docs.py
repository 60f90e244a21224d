"""The documentation is right: commands exist, links lead somewhere, curl lines give the answers they show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.programs import free_port, needs_program
from tests.support import ROOT, OwnRedis, environment, eventually, process

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_ours_exist(page: Path) -> None:
    shown = re.findall(r"python -m trigger ([a-z]+)", page.read_text())
    if page.name == "README.md":  # its table of commands
        shown += re.findall(r"^\| `([a-z]+)", page.read_text(), re.MULTILINE)
    known = subprocess.run([sys.executable, "-m", "trigger", "--help"], cwd=ROOT, capture_output=True, text=True)
    commands = set(re.findall(r"^  ([a-z]+) ", known.stdout, re.MULTILINE))
    assert set(shown) <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", page.read_text())) - {"a", "the", "this"} <= targets


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shipped config, served with a worker; its address."""
    needs_program("curl")
    folder = tmp_path_factory.mktemp("docs")
    (folder / "config.yaml").write_bytes((ROOT / "config.yaml").read_bytes())
    (folder / "examples").symlink_to(ROOT / "examples")
    port = free_port()
    with OwnRedis(folder / "data", fsync="no") as redis:
        environ = environment(folder, redis.url, TRIGGER_BIND=f"127.0.0.1:{port}")
        with process(["web"], environ, folder / "web.log"), process(["worker"], environ, folder / "worker.log"):
            eventually(lambda: "serves queue" in (folder / "worker.log").read_text())
            eventually(lambda: curl(f"curl http://127.0.0.1:{port}/healthz"))
            yield f"127.0.0.1:{port}"


def curl(line: str) -> str:
    command = line.replace("curl ", "curl -s ", 1)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


def examples(page: Path) -> list[tuple[str, str]]:
    """The curl lines of a page that have their answer as a comment below."""
    found = []
    for block in blocks(page, "sh"):
        lines = block.splitlines()
        found += [
            (line, below[2:]) for line, below in pairwise(lines) if line.startswith("curl") and below.startswith("# {")
        ]
    return found


def test_the_readmes_curl_lines_give_the_answers_it_shows(site: str) -> None:
    shown = [(line, answer) for line, answer in examples(ROOT / "README.md") if "$" not in line]  # see test_readme.py
    assert len(shown) == 6
    uid = ""
    for line, answer in shown:
        line = line.replace("127.0.0.1:8080", site).replace("1764072000123456789012345", uid)
        if "…" in answer:  # the record, shortened

            def ended(line: str = line) -> bool:
                record = json.loads(curl(line))["response"]
                return bool(record["status"] == "succeeded" and record["output"] == {"greeting": "Hello, Ada"})

            eventually(ended)
        else:
            said = re.sub(r"\d{25}", "UID", curl(line).strip())
            assert said == re.sub(r"\d{25}", "UID", answer)
            uid = uid or json.loads(curl(line))["response"]["uid"]
