"""The way into the console that `make run` prints: a link that signs in once, with a password made up for it."""

from __future__ import annotations

import http.client
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.running import Running, starting
from tests.support import ROOT, environment
from trigger.config import Settings
from trigger.config.secret import Secret
from trigger.errors import StartError
from trigger.up.made_password import FILE, VARIABLE, keep, load_with_password

OWN = "an-0perator-of-our-own"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with starting(tmp_path) as start:
        yield start


class Visitor:
    """A browser as far as signing in needs one."""

    def __init__(self, service: Running) -> None:
        self.authority = service.address.removeprefix("http://")
        self.cookie = ""

    def open(self, path: str, form: dict[str, str] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.authority, timeout=15)
        headers = {"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin"}
        if form is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("POST", path, urlencode(form), headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        if cookie := response.headers["Set-Cookie"]:
            self.cookie = cookie.partition(";")[0]
        return response

    def is_in(self) -> bool:
        return self.open("/console/system").status == 200


def link(service: Running) -> str:
    """The path and query of the link that was printed, which must be there once."""
    (found,) = re.findall(rf"^Console: {re.escape(service.address)}(/console/sign-in\?key=\S+)$", service.said, re.M)
    return str(found)


def test_the_printed_link_signs_in_once_and_the_password_later(start: Callable[..., Running]) -> None:
    service = start()
    file = service.folder / "data" / FILE
    assert f"(signs in once, within an hour; later: user admin, password in {file})" in service.said
    visitor = Visitor(service)
    assert not visitor.is_in()
    answer = visitor.open(link(service))
    assert (answer.status, answer.headers["Location"]) == (303, "/console/")
    assert visitor.is_in()
    assert Visitor(service).open(link(service)).status == 401

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    by_password = Visitor(service)
    assert by_password.open("/console/sign-in", {"user": "admin", "password": password}).status == 303
    assert by_password.is_in()
    assert "executions" in service.curl("-u", f"admin:{password}", "/v1/executions")

    # Nobody else learns it.
    assert password not in service.log.read_text()
    assert not any(password in command for _, command in service.processes().values())
    kept = [path for path in (service.folder / "data").rglob("*") if path.is_file() and path != file]
    assert [path for path in kept if password.encode() in path.read_bytes()] == []
    assert service.stop() == 0
    assert password not in service.log.read_text()


def test_after_a_restart_the_password_and_the_sessions_are_the_same(start: Callable[..., Running]) -> None:
    first = start()
    visitor = Visitor(first)
    visitor.open(link(first))
    password = (first.folder / "data" / FILE).read_text()
    first.kill()
    second = start()
    assert (second.folder / "data" / FILE).read_text() == password
    assert visitor.is_in()
    assert link(second) != link(first)
    assert Visitor(second).open(link(first)).status == 401
    assert Visitor(second).open(link(second)).status == 303


def test_with_a_password_of_ones_own_the_address_is_printed_without_a_key(start: Callable[..., Running]) -> None:
    service = start(**{VARIABLE: OWN})
    assert f"Console: {service.address}/console/\n" in service.said
    assert "key=" not in service.said
    assert OWN not in service.said
    assert not (service.folder / "data" / FILE).exists()
    assert Visitor(service).open("/console/sign-in", {"user": "admin", "password": OWN}).status == 303


def test_it_starts_also_where_only_some_hosts_are_served(start: Callable[..., Running], tmp_path: Path) -> None:
    config = (ROOT / "config.yaml").read_text().replace("server:\n", "server:\n  hosts: [trigger.example.org]\n")
    (tmp_path / "config.yaml").write_text(config)
    service = start()
    port = service.address.rpartition(":")[2]
    assert f"Console: http://trigger.example.org:{port}/console/sign-in?key=" in service.said


# Which password, and when


OPERATOR = "operators:\n  admin: ${TRIGGER_ADMIN_PASSWORD:-}\n"


def loaded(folder: Path, config: str, **environ: str) -> tuple[dict[str, str], str | None]:
    """The operators of a config and their passwords, and the password that was made up."""
    (folder / "config.yaml").write_text(f"{config}modules: {{}}\n")
    given = environment(folder, "", **environ)
    found, password = load_with_password(Settings.from_environ(given), given)
    return (
        {name: secret.reveal() for name, secret in found.operators.items()},
        None if password is None else password.reveal(),
    )


def test_a_password_is_made_up_for_the_operator_that_has_none(tmp_path: Path) -> None:
    operators, password = loaded(tmp_path, OPERATOR)
    assert password is not None
    assert len(password) == 32
    assert operators == {"admin": password}
    assert loaded(tmp_path, OPERATOR)[1] != password  # it was not kept
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("config", "environ", "operators"),
    [
        (OPERATOR, {VARIABLE: OWN}, {"admin": OWN}),
        (f"{OPERATOR}  night: {OWN}\n", {}, {"night": OWN}),
        (f"operators: {{night: {OWN}}}\n", {}, {"night": OWN}),
        ("", {}, {}),
        ("operators: {night: '${NIGHT:-}'}\n", {}, {}),
    ],
    ids=["one's own", "another operator", "only another", "no operators", "another variable"],
)
def test_none_is_made_up_where_it_would_change_nothing_or_open_more(
    tmp_path: Path, config: str, environ: dict[str, str], operators: dict[str, str]
) -> None:
    assert loaded(tmp_path, config, **environ) == (operators, None)


def test_a_kept_password_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(0o700)
    _, password = loaded(tmp_path, OPERATOR)
    assert password is not None
    keep(tmp_path / "data", Secret(password))
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]
    assert loaded(tmp_path, OPERATOR) == ({"admin": password}, password)


@pytest.mark.parametrize("fault", ["readable", "link", "folder", "pipe", "short", "not ours", "empty"])
def test_what_others_could_have_put_there_is_no_password(tmp_path: Path, fault: str) -> None:
    data = tmp_path / "data"
    data.mkdir(0o700)
    file, planted = data / FILE, "p" * 32
    match fault:
        case "readable":
            file.write_text(planted)
            file.chmod(0o640)
        case "link":
            (tmp_path / "elsewhere").write_text(planted)
            (tmp_path / "elsewhere").chmod(0o600)
            file.symlink_to(tmp_path / "elsewhere")
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file, 0o600)
        case "short" | "not ours" | "empty":
            file.write_text({"short": "p" * 8, "not ours": "p" * 31 + "$", "empty": ""}[fault])
            file.chmod(0o600)
    _, password = loaded(tmp_path, OPERATOR)
    assert password not in (None, planted)
    assert password is not None
    if fault == "folder":
        with pytest.raises(StartError, match="can't be kept"):
            keep(data, Secret(password))
        return
    keep(data, Secret(password))
    assert loaded(tmp_path, OPERATOR)[1] == password
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_password_that_can_not_be_kept_ends_the_start_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"choose one and set {VARIABLE} to it"):
        keep(tmp_path / "nowhere", Secret("p" * 32))
