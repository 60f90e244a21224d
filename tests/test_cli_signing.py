"""`sign`, `verify` and `connect`: signed calls are made and judged, and a sender is connected."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forks
from tests.config.writing import write
from tests.programs import free_port, needs_program
from tests.support import ROOT, OwnRedis, eventually, process
from tests.test_cli import Shell
from tests.test_docs import blocks
from trigger.cli.connecting import _RECIPES, yaml_for
from trigger.config import load
from trigger.signatures import SCHEMES, sign

SECRETS = {"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "rest": "a-secret-of-32-characters-or-more"}


def config(scheme: str) -> str:
    secret = SECRETS.get(scheme, SECRETS["rest"])
    old = f"{secret[:-4]}abcd"
    return f"""\
workflows:
  hello: greetings:greet
modules:
  shop:
    methods:
      push:
        enabled: true
        auth: {{mode: signature, scheme: {scheme}, secrets: {{old: "{old}", now: "{secret}"}}, once: 24h}}
        workflow: hello
        debug: {{name: Ada}}
      open:
        auth: {{mode: none}}
        workflow: hello
"""


@pytest.fixture
def shell(tmp_path: Path, redis: object, redis_server: OwnRedis) -> Shell:
    return Shell(tmp_path, redis_server.url)


def captured(shell: Shell, line: str) -> tuple[str, str, list[str]]:
    """Write what a curl line sends into files; their paths, and the headers."""
    words = shlex.split(line)
    headers = [word.removeprefix("-H") for word in words if word.startswith("-H")]
    (shell.folder / "headers").write_text(
        "POST /v1/api/shop/push/async HTTP/1.1\r\n" + "\r\n".join(headers) + "\r\n\r\n"
    )
    (shell.folder / "body").write_text(words[words.index("-d") + 1])
    return str(shell.folder / "headers"), str(shell.folder / "body"), headers


@pytest.mark.parametrize("scheme", ["github", "gitlab", "slack", "standard"])
def test_what_is_signed_is_right(shell: Shell, scheme: str) -> None:
    (shell.folder / "config.yaml").write_text(config(scheme))
    signed = shell("sign", "shop/push", "--data", '{"a": "it\'s"}', "--secret", "now")
    assert signed.returncode == 0, signed.stderr
    headers, body, _ = captured(shell, signed.stdout)
    assert (shell.folder / "body").read_text() == '{"a": "it\'s"}'
    said = shell("verify", "shop/push", "--headers", headers, "--body", body)
    assert said.stdout.startswith("signed with the secret 'now'"), said.stderr
    assert said.returncode == 0


def test_why_a_signature_is_refused(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(config("stripe"))
    headers, body, sent = captured(shell, shell("sign", "shop/push").stdout)
    right = sent[0].rpartition("=")[2]

    def refused(*more: str) -> str:
        said = shell("verify", "shop/push", "--headers", headers, "--body", body)
        assert said.returncode == 1
        assert said.stdout == ""
        assert SECRETS["rest"] not in said.stderr
        assert right not in said.stderr
        return said.stderr

    Path(body).write_text('{"name": "Ada"}\n')
    assert "no secret matches" in refused()
    assert "the secret 'old' would match, were there no line end after the body" in refused()
    Path(body).write_text('{"name": "Bob"}')
    assert "the secret or the body is another one than the sender's; tried: old, now" in refused()
    Path(headers).write_text("Content-Type: application/json\n")
    assert "the header Stripe-Signature is missing" in refused()
    Path(headers).write_text("Stripe-Signature: v1=abc\n")
    assert "does not say the time once" in refused()


def test_an_old_capture_says_that_the_secret_is_right(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(config("stripe"))
    made = sign(SCHEMES["stripe"], SECRETS["rest"], b"{}", now=time.time() - 4000, delivery="x")
    (shell.folder / "h").write_text("".join(f"{name}: {value}\n" for name, value in made.items()))
    (shell.folder / "b").write_text("{}")
    said = shell("verify", "shop/push", "--headers", str(shell.folder / "h"), "--body", str(shell.folder / "b"))
    assert said.returncode == 1
    assert "refused: signed 40" in said.stderr
    assert "the secret 'now' would match\ncalls are accepted for 300 s" in said.stderr


def test_what_can_t_be_signed(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(
        config("github").replace('now: "', 'now: "${NOT_SET}').replace("old", "o")
    )
    assert "has no secret 'x'" in shell("sign", "shop/push", "--secret", "x").stderr
    assert "mode: none" in shell("sign", "shop/open").stderr
    (shell.folder / "config.yaml").write_text(config("github").replace(SECRETS["rest"], "${NOT_SET}"))
    assert (
        "the secret now is ${NOT_SET}, which is not set in this shell"
        in shell("sign", "shop/push", "--secret", "now").stderr
    )
    (shell.folder / "config.yaml").write_text(config("standard").replace(SECRETS["standard"], "${NOT_SET}"))
    assert shell("apis").returncode == 0  # what need not know a secret works without it


def test_declared_headers_are_sent_too(shell: Shell) -> None:
    declared = "headers: {event: X-GitHub-Event, hook: X-GitHub-Hook-ID, delivery: X-GitHub-Delivery}\n        workflow"
    (shell.folder / "config.yaml").write_text(config("github").replace("workflow: hello", f"{declared}: hello", 1))
    _, _, bare = captured(shell, shell("sign", "shop/push").stdout)
    assert "X-GitHub-Event: YOUR-X-GITHUB-EVENT" in bare
    assert sum("x-github-delivery" in header.lower() for header in bare) == 1
    given = ("--header", "event=push", "--header", "x-github-hook-id=it's 7", "--header", "X-Other=a=b")
    _, _, sent = captured(shell, shell("sign", "shop/push", *given).stdout)
    assert sent[-3:] == ["X-GitHub-Event: push", "x-github-hook-id: it's 7", "X-Other: a=b"]
    for wrong in ("event", "event=", "a b=c", "event=a\nb", "X-Hub-Signature-256=sha256=00"):
        said = shell("sign", "shop/push", "--header", wrong)
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr.startswith("--header ")


def test_a_body_that_is_no_text_goes_by_a_file(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(config("github"))
    said = shell("sign", "shop/push", "--data", "\udcff")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "--data TEXT is not UTF-8: write the bytes into a file, and say --data @FILE\n"
    (shell.folder / "bytes").write_bytes(b"\xff")
    assert (
        f"--data-binary '@{shell.folder}/bytes'" in shell("sign", "shop/push", f"--data=@{shell.folder}/bytes").stdout
    )


def test_that_a_line_has_the_secret_itself_is_said(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(config("gitlab"))
    said = shell("sign", "shop/push")
    assert SECRETS["rest"][:-4] in said.stdout
    assert said.stderr == "X-Gitlab-Token in this line is the secret 'old' itself: keep the line to yourself\n"
    assert "gitlab" in shell("sign", "--help").stdout


@pytest.mark.parametrize("scheme", _RECIPES)
def test_the_yaml_to_add_is_right(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "shop-push.secret").write_text(SECRETS.get(scheme, SECRETS["rest"]))
    added = yaml_for(scheme, "shop", "push", "hello")
    found = load(write(tmp_path, f"workflows: {{hello: 'examples.hello:greet'}}\n{added}\n"), {})
    auth = found.apis["shop", "push"].auth
    assert scheme in (getattr(auth, "name", ""), "token", "path")
    assert [warning for warning in found.warnings if "in the path" not in warning.message] == []


# The recipe on the page for each of what `connect` knows; "custom" is no sender's.
ON_THE_PAGE = {scheme: scheme for scheme in _RECIPES if scheme != "custom"} | {
    "slack": "slack_events",
    "token": "api_key",
    "path": "docker_hub",
}


@pytest.mark.parametrize("scheme", ON_THE_PAGE)
def test_the_yaml_to_add_is_that_of_the_recipe(scheme: str) -> None:
    recipes: dict[str, Any] = {}
    for text in blocks(ROOT / "docs" / "senders.md", "yaml"):
        recipes |= yaml.safe_load(text)
    added = yaml.safe_load(yaml_for(scheme, "hooks", "it", "any"))["modules"]["hooks"]["methods"]["it"]
    recipe = recipes[ON_THE_PAGE[scheme]]
    if scheme == "github":  # the page's has an example of a condition
        del recipe["when"]
    for found in (added["auth"], recipe["auth"]):
        assert found.pop("token", None) or found.pop("secrets").keys() == {"current"}
    assert added == recipe | {"enabled": True, "workflow": "any"}


@pytest.mark.parametrize("scheme", ["stripe", "token", "path"])
def test_connect_says_so_where_the_api_is_another_senders(shell: Shell, scheme: str) -> None:
    (shell.folder / "config.yaml").write_text(config("github"))
    said = shell("connect", scheme, "shop/push", "--wait")
    assert said.returncode == 1
    assert f"its auth says mode: signature, scheme: github, which is not {scheme}." in said.stdout
    assert "Paste" not in said.stdout
    assert "mode: none, which is not" in shell("connect", scheme, "shop/open").stdout


def test_connect_names_the_header_that_an_api_has(shell: Shell) -> None:
    has = "auth: {mode: token, header: X-Key, token: a-token-of-16-characters}"
    (shell.folder / "config.yaml").write_text(config("github").replace("auth: {mode: none}", has))
    assert "Header X-Key" in shell("connect", "token", "shop/open").stdout


@pytest.mark.parametrize("scheme", ["github", "path"])
def test_the_secret_does_not_get_into_the_shells_history(shell: Shell, scheme: str) -> None:
    (shell.folder / "config.yaml").write_text(config("github"))
    said = shell("connect", scheme, "shop/new").stdout
    line = next(line.strip() for line in said.splitlines() if "umask" in line)
    made = re.search(r"[0-9a-f]{64}", said)
    assert made
    assert made[0] not in line
    subprocess.run(["bash", "-c", line], input=f"{made[0]}\n", text=True, check=True)
    file = shell.folder / "shop-new.secret"
    assert file.read_text() == made[0]
    assert file.stat().st_mode & 0o777 == 0o600


def test_connect_says_where_what_goes(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(config("github").replace(SECRETS["rest"], "${HOOK}"))
    here = shell("connect", "github", "shop/push", "--url", "https://hooks.example.org/", HOOK="x" * 32)
    assert "https://hooks.example.org/v1/api/shop/push/async\n" in here.stdout
    assert "'now' names, ${HOOK}" in here.stdout
    assert "x" * 32 not in here.stdout
    assert "which is not gitea" in shell("connect", "gitea", "shop/push").stdout
    new = shell("connect", "stripe", "shop/paid")
    assert "is made there" in new.stdout
    assert yaml_for("stripe", "shop", "paid", "hello").splitlines()[-1] in new.stdout
    assert shell("connect", "stripe", "shop").returncode == 2
    assert shell("connect", "stripe", "shop/a b").returncode == 2


def test_connect_waits_for_the_first_call(shell: Shell) -> None:
    needs_program("curl")
    (shell.folder / "config.yaml").write_text(
        config("github").replace(
            "workflow: hello",
            "when: \"{{ input.name != 'no' }}\"\n        answer: {handshake: github}\n        workflow: hello",
            1,
        )
    )
    port = free_port()
    shell.environ["TRIGGER_BIND"] = f"127.0.0.1:{port}"
    output = shell.folder / "connect.log"

    def call(line: str) -> None:
        subprocess.run(line, shell=True, check=True, capture_output=True)

    with process(["web"], shell.environ, shell.folder / "web.log"), output.open("w") as file:
        eventually(lambda: subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/healthz"]).returncode == 0)
        words = ["connect", "github", "shop/push", "--wait", "--timeout", "50s"]
        waiting = forks.start(words, shell.environ, stdout=file, stderr=file)
        try:
            eventually(lambda: "waiting for the first call" in output.read_text())
            good = shell("sign", "shop/push").stdout.strip()
            call(good.replace("sha256=", "sha256=00"))
            eventually(lambda: "refused: 401 Signature is invalid: " in output.read_text())
            call(f"{good} -H 'X-GitHub-Event: ping'")
            eventually(lambda: "answered: a handshake of old" in output.read_text())
            call(shell("sign", "shop/push", "--data", '{"name":"no"}').stdout)
            eventually(lambda: "ignored: " in output.read_text())
            assert waiting.poll() is None
            call(good)
            assert waiting.wait(20) == 0
        finally:
            waiting.kill()
            waiting.wait()
    assert "accepted from old:" in output.read_text()
    assert '{"name": "Ada"}' in output.read_text()
