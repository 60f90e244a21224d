"""docs/http.md keeps its promises: its curl lines give the answers it shows, and it names every error."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.programs import needs_program
from tests.support import ROOT, OwnRedis
from tests.web.site import Gunicorn
from trigger import errors

PAGE = (ROOT / "docs" / "http.md").read_text()
LINES = re.findall(r"^(curl .*)\n# (\d+) (.*)$", PAGE, re.MULTILINE)
UID = re.compile(r'(?<="uid":")\d{25}(?=")')


@pytest.fixture(scope="module")
def shipped(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes under the config.yaml of the repository."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copy(ROOT / "config.yaml", folder)
    with Gunicorn(folder, redis_server.url) as web:
        yield web


@pytest.mark.parametrize(("line", "status", "body"), LINES)
def test_the_curl_lines_of_the_page_are_answered_as_it_shows(
    shipped: Gunicorn, line: str, status: str, body: str
) -> None:
    command = shlex.split(line.replace("127.0.0.1:8080", f"127.0.0.1:{shipped.port}"))
    command[0] = needs_program("curl")
    done = subprocess.run([*command, "-s", "-w", "%{http_code}"], capture_output=True, text=True, check=True)
    answered, _, code = done.stdout.rpartition("\n")
    assert code == status
    assert UID.sub("…", answered) == UID.sub("…", body)


def test_there_are_such_lines_for_each_way_to_call() -> None:
    assert {status for _, status, _ in LINES} == {"202", "400", "401", "403"}
    assert len(LINES) >= 8


def kinds(base: type[errors.RequestError] = errors.RequestError) -> Iterator[type[errors.RequestError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: str(kind.__name__))
def test_the_page_names_every_error_with_its_status(kind: type[errors.RequestError]) -> None:
    assert re.search(rf"\b{kind.status}\b.*`{re.escape(kind.code)}`|`{re.escape(kind.code)}`.*\b{kind.status}\b", PAGE)
