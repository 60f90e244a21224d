"""docs/http.md keeps its promises: its curl lines give the answers it shows, and it names every error."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.programs import needs_program
from tests.support import ROOT, OwnRedis
from tests.web.site import OPERATOR, Gunicorn, accepted
from trigger import errors

PAGE = (ROOT / "docs" / "http.md").read_text()
LINES = re.findall(r"^(curl .*)\n# (\d+) (.*)$", PAGE, re.MULTILINE)
ON_ONE = [line for line in LINES if "$EXECUTION" in line[0]]  # lines about one execution, in their order
UID = re.compile(r'(?<="uid":")\d{25}(?=")')


@pytest.fixture(scope="module")
def shipped(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes under the config.yaml of the repository."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copy(ROOT / "config.yaml", folder)
    with Redis.from_url(redis_server.url) as client:
        client.flushall()  # what other tests have left would be listed
    with Gunicorn(folder, redis_server.url, TRIGGER_ADMIN_PASSWORD=OPERATOR) as web:
        yield web


def check(shipped: Gunicorn, line: str, status: str, body: str, uid: str = "") -> None:
    """Runs a line, and compares what it is answered: uids may differ, and "…" stands for anything."""
    for name, value in (("$TRIGGER_ADMIN_PASSWORD", OPERATOR), ("$EXECUTION", uid), (":8080", f":{shipped.port}")):
        line = line.replace(name, value)
    command = shlex.split(line)
    command[0] = needs_program("curl")
    done = subprocess.run([*command, "-s", "-w", "\n%{http_code}"], capture_output=True, text=True, check=True)
    answered, _, code = done.stdout.rpartition("\n")
    assert code == status
    wanted = re.escape(UID.sub("…", body)).replace("…", ".*")
    assert re.fullmatch(wanted, UID.sub("…", answered).strip(), re.DOTALL), answered


@pytest.mark.parametrize(("line", "status", "body"), [line for line in LINES if line not in ON_ONE])
def test_the_curl_lines_of_the_page_are_answered_as_it_shows(
    shipped: Gunicorn, line: str, status: str, body: str
) -> None:
    for _ in range(2):  # so that lists have something to show
        accepted(shipped.call("iolinker/test"))
    check(shipped, line, status, body)


def test_those_about_an_execution_do_with_it_what_the_page_shows(shipped: Gunicorn) -> None:
    uid = accepted(shipped.call("iolinker/test"))
    for line, status, body in ON_ONE:
        check(shipped, line, status, body, uid)


def test_there_are_such_lines_for_each_way_to_call() -> None:
    assert {status for _, status, _ in LINES} == {"200", "202", "400", "401", "403", "404", "409"}
    assert len(LINES) >= 18
    for path in ("/logs", "/cancel", "/rerun", "/resume", "/again"):
        assert any(path in line for line, _, _ in ON_ONE), path


def kinds(base: type[errors.RequestError] = errors.RequestError) -> Iterator[type[errors.RequestError]]:
    for kind in base.__subclasses__():
        if not kind.__subclasses__():  # else only what is under it is raised
            yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: str(kind.__name__))
def test_the_page_names_every_error_with_its_status(kind: type[errors.RequestError]) -> None:
    assert re.search(rf"\b{kind.status}\b.*`{re.escape(kind.code)}`|`{re.escape(kind.code)}`.*\b{kind.status}\b", PAGE)
