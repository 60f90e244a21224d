"""Templates in what a program reads as code: `check` finds them, whichever way the program is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config.interpreters import misread, misused

from .test_step_mistakes import found, only

B = "{{ input.b }}"

CODE = [
    ["sh", "-c", f"echo {B}"],
    ["bash", "-ec", B],
    ["dash", "-lc", B],
    ["/bin/sh", "-c", B],
    ["env", "FOO=1", "sh", "-c", B],
    ["sudo", "-u", "x", "sh", "-c", B],
    ["nice", "-n", "5", "sh", "-c", B],
    ["timeout", "5", "sh", "-c", B],
    ["xargs", "sh", "-c", B],
    ["python", "-c", B],
    ["python3.11", "-Ic", B],
    ["python", "-X", "dev", "-c", B],
    ["perl", "-e", B],
    ["perl", "-E", B],
    ["perl", "-ne", B],
    ["perl", f"-e{B}"],
    ["ruby", "-e", B],
    ["node", "-e", B],
    ["node", "--eval", B],
    ["node", f"--eval={B}"],
    ["node", "-p", B],
    ["php", "-r", B],
    ["lua", "-e", B],
    ["awk", B, "f"],
    ["awk", "-F", ":", f"$1 ~ /{B}/", "f"],
    ["gawk", "-f", B],
    ["sed", f"s/a/{B}/", "f"],
    ["sed", "-i", "-e", f"s/a/{B}/"],
    ["sed", "f", "-e", B],
    ["eval", B],
    ["ssh", "host", B],
    ["ssh", "-p", "22", "host", "deploy", B],
    ["ssh", "-o", f"ProxyCommand={B}", "h"],
    ["su", "-c", B],
    ["su", "-", "u", "-c", B],
    ["docker", "exec", "c", "sh", "-c", B],
    ["docker", "exec", "-it", "c", B],
    ["docker", "run", "--rm", "img", "sh", "-c", B],
    ["kubectl", "exec", "p", "--", "sh", "-c", B],
    ["kubectl", "exec", "p", "--", B],
    ["psql", "-c", B],
    ["psql", f"--command={B}"],
    ["psql", "db", "-c", B],
    ["mysql", "-e", B],
    ["sqlite3", "db", B],
    ["jq", B],
    ["jq", "-r", f".{B}"],
    ["find", ".", "-exec", "sh", "-c", B, ";"],
    ["find", ".", "-exec", B, ";"],
    ["watch", B],
    ["osascript", "-e", B],
    ["powershell", "-Command", B],
    ["busybox", "sh", "-c", B],
    ["sh", B],
    ["python", B],
    ["env", B],
    ["timeout", "5", B],
    ["sudo", "-u", "x", B],
    ["nice", B],
    ["xargs", "-n", "1", B],
    ["bash", "-euo", "pipefail", "-c", B],
    ["bash", "-o", "pipefail", "-c", B],
    ["bash", "-c", "-e", B],
    ["fish", "-C", B],
    ["make", B],
    ["make", f"X={B}"],
    ["mytool", "--", "sh", "-c", B],
    ["env", "-S", B],
    ["env", f"LD_PRELOAD={B}", "x"],
    ["python", "-m", B],
    ["perl", f"-M{B}"],
    ["ruby", "-r", B, "x.rb"],
    ["uv", "run", B],
    ["stdbuf", "-oL", "sh", "-c", B],
    ["git", "bisect", "run", "sh", "-c", B],
    ["sh", "--", B],
    ["bash", "--rcfile", B],
]

DATA = [
    ["sh", "-c", 'deploy "$1"', "deploy", B],
    ["sh", "-c", "x", "sh", "-c", B],
    ["bash", "-euo", "pipefail", "-c", "x", "sh", B],
    ["sh", "x.sh", B],
    ["python", "x.py", B],
    ["python", "-m", "http.server", B],
    ["python", "x.py", "-c", B],
    ["perl", "-e", "x", "--", B],
    ["node", "-e", "x", "--", B],
    ["awk", "-v", f"x={B}", "prog", B],
    ["awk", f"-vfoo={B}", "prog"],
    ["awk", "-f", "p.awk", B],
    ["sed", "-n", "p", "--", B],
    ["jq", "--arg", "b", B, "."],
    ["psql", "-v", f"b={B}", "-f", "q.sql"],
    ["ssh", B, "deploy"],
    ["env", f"FOO={B}", "sh", "-c", "x"],
    ["docker", "run", "img", "sh", "-c", "x", "sh", B],
    ["find", ".", "-name", B, "-exec", "sh", "-c", "x", "sh", "{}", ";"],
    ["timeout", "5", "scripts/x.sh", B],
    ["timeout", B, "x"],
    ["scripts/x.sh", "python", B],
    ["logger", "--", B],
    ["make", "all"],
    ["curl", B],
    ["apt-get", "install", "php", B],
    ["sqlite3", B, "select 1"],
    ["git", "commit", f"--message={B}"],
    ["sh", "-c", "{{ 'x' }}"],
]


@pytest.mark.parametrize("argv", CODE, ids=" ".join)
def test_a_template_in_what_is_read_as_code_is_found(argv: list[str]) -> None:
    """found.md 24."""
    assert misread(argv)
    assert all(B in argv[index] for index in misread(argv))


@pytest.mark.parametrize("argv", DATA, ids=" ".join)
def test_a_template_that_is_an_argument_is_not(argv: list[str]) -> None:
    assert misread(argv) == {}


@pytest.mark.parametrize("argv", [["x", "-{{ input.b }}"], ["x", "--{{ input.b }}"], ["x", "--no-{{ input.b }}"]])
def test_a_caller_does_not_choose_an_option(argv: list[str]) -> None:
    assert "--name={{ input.b }}" in misread(argv)[1]
    assert misread(["x", "--", *argv[1:]]) == {}


def test_the_mistake_has_its_place_and_shows_the_right_form(tmp_path: Path) -> None:
    line, column, key, message = only(tmp_path, "{name: a, run: [sh, -c, 'echo {{ input.b }}']}")
    assert (line, column, key) == (4, 31, "steps.0.run.2")
    assert message == (
        "sh reads this as code, which a caller must not write: give it as an argument: "
        """[sh, -c, 'deploy "$1"', deploy, "{{ input.b }}"]"""
    )


def test_every_such_argument_is_told_at_once(tmp_path: Path) -> None:
    keys = [key for _, _, key, _ in found(tmp_path, "{name: a, run: [ssh, host, '{{ input.a }}', x, '{{ input.b }}']}")]
    assert keys == ["steps.0.run.2", "steps.0.run.4"]


def test_variables_that_say_what_is_run_or_loaded_are_the_configs() -> None:
    for name in ("PATH", "LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "GIT_SSH_COMMAND", "NODE_OPTIONS"):
        assert misused(name, B)
        assert misused(name, "/usr/lib") is None
    assert misused("GIT_AUTHOR_NAME", B) is None


def test_a_variable_of_a_step_or_of_the_workflow_is_a_mistake_at_its_place(tmp_path: Path) -> None:
    *_, key, message = only(tmp_path, "{name: a, run: ['true'], env: {LD_PRELOAD: '{{ input.b }}'}}")
    assert key == "steps.0.env.LD_PRELOAD"
    assert "what a caller sends must not stand in it" in message
