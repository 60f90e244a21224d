"""No secret in a log, record, page, figure, error, answer, list of processes or file but where it must be.

Everything that is secret is a text of its own, a canary; the real service is given all of them, used in every way, and
looked through. Where a secret must be kept, it is said here, and that nobody else may read the file.
"""

from __future__ import annotations

import json
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urldefrag, urljoin, urlsplit

import pytest
import requests
from redis import Redis

from tests.leaks.canaries import ODD, Canaries
from tests.leaks.house import OURS, PROGRAM, House, house
from tests.running import REDIS, WEB, WORKER
from tests.support import eventually

# All that is used before the tests, each command among it, takes two minutes on a slow machine.
pytestmark = pytest.mark.timeout(400)

# What callers send as input, what the config gives to steps and what steps put out: an execution is run again, or gone
# on with, with what it had, so Redis keeps it.
KEPT = frozenset(
    (
        *("card", "cards.0", "cards.1", "inner", "pin", "whole", "shown", "choice", "preset", "debug", "debug inner"),
        *("IN_DEFAULT", "IN_DEBUG", "IN_WITH", "IN_HEADER", "IN_QUERY", "IN_PATH", "IN_BODY", "IN_ENV", "IN_ARGV"),
        *("file 1", "file 2"),
    )
)

MAX_PAGES = 400


@pytest.fixture(scope="module", params=["text", "json"])
def used(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The service after all has been done with it that is in this file."""
    with house(tmp_path_factory.mktemp("leaks"), request.param) as found:
        use(found)
        yield found


def use(found: House) -> None:
    secrets = found.secrets
    value = {
        "card": secrets.make("card", ODD),
        "cards": [secrets.make("cards.0", ODD), secrets.make("cards.1", ODD)],
        "box": {"inner": secrets.make("inner", ODD), "rows": [{"pin": secrets.make("pin", ODD)}]},
        "whole": {"deep": [secrets.make("whole", ODD)]},
        "shown": secrets.make("shown", ODD),
        "choice": secrets["choice"],
        "note": "no secret",
    }
    token = {"token": secrets["token"]}
    found.call("tells", "tells", value, headers=token)
    found.call("fails", "fails", value, headers={"Authorization": f"Bearer {secrets['IN_TOKEN']}"})
    found.call("json", "json", value, auth=("ada", secrets["password"]))
    found.call("steps", "steps", value, headers=token)
    found.call("once", "once", {})
    refuse(found, value)
    found.sign_in()
    assert found.command("debug", "shop/steps", "--json") == 1
    assert found.command("debug", "shop/tells") == 0
    ends = {name: found.ended(name) for name in found.uids}
    assert ends == {"tells": "succeeded", "fails": "failed", "json": "failed", "steps": "failed", "once": "failed"}
    act(found)
    refuse_edit(found)
    listen(found)
    crawl(found)
    commands(found)


def refuse(found: House, value: Any) -> None:
    """Calls with wrong credentials, and with right ones and secrets in the wrong place."""
    secrets = found.secrets
    token = {"token": secrets["token"]}
    path = "/v1/api/shop/tells/async"
    wrong = secrets.make("wrong token")
    for headers in (
        {"token": wrong},
        {"Authorization": f"Bearer {wrong}"},
        {"Authorization": wrong},
        {"Cookie": wrong},
    ):
        assert found.ask("POST", path, json=value, headers=headers).status_code == 401
    password = secrets.make("wrong password", "'\"<&\\/")
    assert found.ask("POST", "/v1/api/shop/json/async", json={}, auth=("ada", password)).status_code == 401
    headers = {"user": "ada", "password": password}
    assert found.ask("GET", "/v1/api/shop/json/async", headers=headers).status_code == 401
    assert found.ask("GET", "/v1/executions", auth=("admin", password)).status_code == 401
    for place in ("/metrics", "/openapi.json", "/docs"):
        assert found.ask("GET", place, auth=("admin", password)).status_code == 401
    form = {"user": "admin", "password": password}
    assert found.ask("POST", "/console/sign-in", data=form, headers=OURS).status_code == 401
    assert found.ask("GET", f"/console/sign-in?key={secrets.make('wrong link')}").status_code == 401
    assert (
        found.ask("GET", "/console/system", cookies={"trigger_session": secrets.make("wrong cookie")}).status_code
        == 303
    )
    lost, name = secrets.make("in a query"), secrets.make("a name")
    for query in (f"?token={lost}", f"?{name}=1", f"?{name}"):
        assert found.ask("POST", f"{path}{query}", json=value).status_code == 401
        assert found.ask("POST", f"{path}{query}", json=value, headers=token).status_code == 400
        assert found.ask("GET", f"/v1/executions{query}", auth=(found.operator, secrets["operator"])).status_code == 400
        assert found.ask("GET", f"/nowhere{query}").status_code == 404
    lost = secrets.make("in a path")
    for more in (f"/{lost}", f"%3Ftoken={lost}", f"&token={lost}", f";token={lost}"):
        assert found.ask("POST", f"{path}{more}", json=value, headers=token).status_code == 404
    lost = secrets.make("in a body")
    bodies: list[bytes | str] = [
        f'{{"card": "{lost}"',
        f'{{"{name}": 1}}',
        json.dumps({"card": lost * 3}),
        f"card={lost}&x=1",
    ]
    bodies += [
        json.dumps({"card": [lost]}),
        json.dumps({"card": {"x": lost}}),
        json.dumps({"choice": lost}),
        f'"{lost}"',
    ]
    for body in bodies:
        assert found.ask("POST", path, data=body, headers=token).status_code == 400
    assert found.ask("POST", path, data=lost, headers={**token, "Content-Type": "text/plain"}).status_code == 415


def act(found: House) -> None:
    """What an operator does in the console."""
    page = f"/console/executions/{found.uids['steps']}"
    for path, form in (
        (f"{page}/resume", {}),
        (f"{page}/rerun", {}),
        ("/console/apis/shop/steps/debug", {"verb": "POST", "input": '{"card": "***"}'}),
        ("/console/apis/shop/tells/switch", {"enabled": "off"}),
        ("/console/apis/shop/tells/switch", {"enabled": "on"}),
    ):
        found.ask("POST", path, by=found.browser, data=form, headers=OURS)
    auth = (found.operator, found.secrets["operator"])
    for what in ("rerun", "resume", "cancel"):
        found.ask("POST", f"/v1/executions/{found.uids['steps']}/{what}", auth=auth)
    more = found.ask("GET", "/v1/executions", auth=auth).json()["response"]["executions"]
    found.uids |= {f"more {number}": summary["uid"] for number, summary in enumerate(more)}
    for name in found.uids:
        found.ended(name)


def refuse_edit(found: House) -> None:
    """An edit with mistakes at the places of secrets, which every page shows from then on."""
    config = json.loads(found.running.config.read_text())
    config["modules"]["shop"]["methods"]["json"]["auth"]["users"] = [found.secrets["password"]]
    config["modules"]["shop"]["methods"]["tells"]["auth"]["tokens"] = {"": found.secrets["token"]}
    config["workflows"]["steps"]["env"]["not a name"] = "${IN_ENV}"
    config["workflows"]["steps"]["timeout"] = "${IN_WITH}"
    config["server"] = {"max_body": "${IN_BODY}", "hosts": "${IN_ARGV}"}
    found.running.config.write_text(json.dumps(config, indent=1))
    eventually(
        lambda: requests.get(f"{found.running.address}/readyz", timeout=30).json()["response"]["config"].get("refused")
    )
    found.command("check")


def listen(found: House) -> None:
    """Everything that is read by HTTP, as a caller and as an operator."""
    auth = (found.operator, found.secrets["operator"])
    for path in ("/metrics", "/openapi.json", "/docs", "/readyz", "/healthz", "/v1/executions", "/no/such"):
        for credentials in (auth, None):
            found.ask("GET", path, auth=credentials)
    for name, uid in found.uids.items():
        for headers in ({}, {"token": found.secrets["token"]}):
            by = auth if not headers else None
            assert found.ask("GET", f"/v1/executions/{uid}", auth=by, headers=headers).status_code in (200, 404), name
            for form in ("application/json", "text/plain", "application/x-ndjson"):
                found.ask("GET", f"/v1/executions/{uid}/logs", auth=by, headers={**headers, "Accept": form})


class Links(HTMLParser):
    """Whatever in a page looks like a path: of links, of forms, and what our script asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        posts = tag == "form" and dict(attrs).get("method", "").lower() == "post"  # type: ignore[union-attr]
        for name, value in attrs:
            if not posts and value and value.startswith(("/", "?")) and name not in ("value", "d"):
                self.found.append(value)


def crawl(found: House) -> None:
    """Every page that the console's links lead to."""
    due, known = ["/console/", "/docs", "/openapi.json"], set[str]()
    while due and len(known) < MAX_PAGES:
        path = due.pop(0)
        if path in known:
            continue
        known.add(path)
        answer = found.ask("GET", path, by=found.browser)
        assert answer.status_code in (200, 303, 404, 405), (path, answer.status_code)
        if answer.status_code == 303:
            due.append(urljoin(path, answer.headers["Location"]))
        elif answer.headers["Content-Type"].startswith("text/html"):
            links = Links()
            links.feed(answer.text)
            due += [urldefrag(urljoin(path, link)).url for link in links.found if not urlsplit(link).netloc]
    assert not due or len(known) == MAX_PAGES
    for pattern in (
        "/console/apis",
        "/console/apis/shop/steps",
        "/console/workflows",
        "/console/workflows/steps",
        "/console/workflows/fails",
        "/console/executions",
        *(f"/console/executions/{uid}" for uid in found.uids.values()),
        *(f"/console/executions/{uid}/log.*" for uid in found.uids.values()),
        "/console/refused",
        "/console/system",
    ):
        assert any(re.fullmatch(pattern, path) for path in known), (pattern, sorted(known))
    for path in ("/console/executions?since=%3Cx", f"/console/nowhere/{quote(ODD)}"):
        found.ask("GET", path, by=found.browser)


def commands(found: House) -> None:
    listing = [["apis"], ["workflows"], ["executions"], ["refused"], ["callbacks"], ["check"]]
    for uid in found.uids.values():
        listing += [["show", uid], ["logs", uid]]
    for arguments in listing:
        found.command(*arguments)
        if arguments[0] != "check":
            found.command(*arguments, "--json")


def leaks(
    secrets: Canaries, places: list[tuple[str, bytes]], allowed: frozenset[str] = frozenset()
) -> dict[str, list[str]]:
    """The secrets in each of the places."""
    return {place: names for place, data in places if (names := secrets.found(data, allowed))}


def test_the_secrets_were_there_to_be_told(used: House) -> None:
    told = (used.folder / "evidence").read_text()
    for name in ("card", "cards.1", "pin", "whole", "shown", "choice", "preset", "IN_WITH", "file 1", "IN_DEFAULT"):
        assert json.dumps(used.secrets[name], ensure_ascii=False)[1:-1] in told, name
    assert used.secrets.found(told, KEPT) == []
    called_back = [data for place, data in used.seen if place == "trigger callbacks --json"]
    assert b"404 Not Found" in b"".join(called_back), "the receiver was told, and has repeated it all"
    peeked = json.dumps(used.secrets["IN_DEBUG"], ensure_ascii=False)[1:-1]
    assert peeked in told


def test_none_is_in_an_answer_a_page_or_the_output_of_a_command(used: House) -> None:
    assert len(used.seen) > 150
    told = frozenset({"a name"})  # who sends an unknown field is told its name
    assert leaks(used.secrets, [seen for seen in used.seen if seen[0].endswith(" 400")], told) == {}
    assert leaks(used.secrets, [seen for seen in used.seen if not seen[0].endswith(" 400")]) == {}


def test_none_is_in_the_log_of_the_service(used: House) -> None:
    log = used.running.log.read_text()
    assert "signed in" in log
    lines = log.replace(used.secrets["link"], "", 1) if "link" in used.secrets.names else log  # printed once
    assert len(lines.splitlines()) > 100
    assert leaks(used.secrets, [(line, line.encode()) for line in lines.splitlines()]) == {}


def test_none_is_in_a_command_line_but_where_a_step_is_declared_to_put_it(used: House) -> None:
    lines = [(line.decode(errors="replace"), line) for line in used.commands]
    assert any("gunicorn" in line for line, _ in lines)
    assert any("worker --" in line for line, _ in lines)
    ours = [(line, data) for line, data in lines if PROGRAM not in line]
    assert leaks(used.secrets, ours) == {}


def test_redis_keeps_inputs_and_what_steps_put_out_and_no_credential(used: House) -> None:
    with Redis(unix_socket_path=str(used.folder / "data/redis.sock")) as redis:
        held = [(key.decode(), data) for key in redis.scan_iter(count=1000) for data in contents(redis, key)]
    assert len(held) > 200
    inputs = [(key, data) for key, data in held if key.startswith(("rq:job:", "trigger:steps:"))]
    others = [(key, data) for key, data in held if not key.startswith(("rq:job:", "trigger:steps:"))]
    assert leaks(used.secrets, inputs, KEPT) == {}
    assert leaks(used.secrets, others) == {}
    assert leaks(used.secrets, inputs) != {}, "otherwise they are not looked at well"


def contents(redis: Redis, key: bytes) -> Iterator[bytes]:
    """Everything that a key holds."""
    yield key
    found: Any
    match redis.type(key):
        case b"hash":
            found = [part for pair in cast(dict[bytes, bytes], redis.hgetall(key)).items() for part in pair]
        case b"stream":
            entries = cast(list[tuple[bytes, dict[bytes, bytes]]], redis.xrange(key))
            found = [part for _, entry in entries for pair in entry.items() for part in pair]
        case b"string":
            found = [redis.get(key)]
        case b"list":
            found = redis.lrange(key, 0, -1)
        case b"zset":
            found = redis.zrange(key, 0, -1)
        case kind:
            assert kind == b"set"
            found = redis.smembers(key)
    yield from found


def test_files_that_hold_one_are_for_their_owner_only(used: House) -> None:
    data = used.folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    files = [path for path in data.rglob("*") if path.is_file()]
    assert {"config.last-good.yaml", "redis.log"} <= {path.name for path in files}
    holding = {path: names for path in files if (names := used.secrets.found(path.read_bytes()))}
    for path, names in holding.items():
        if path.parent.name == "appendonlydir":  # Redis makes them with another mode: nobody gets into the folder
            assert set(names) <= KEPT
            continue
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        if (
            path.name == "config.last-good.yaml" or path.parent.name == "versions"
        ):  # the config's own text: what is in the environment is not in it
            assert set(names) <= {"token", "old token", "password", "other operator", *KEPT}
            assert not [name for name in names if name.startswith("IN_")]
        else:
            assert (path.name, names) == ("admin.password", ["operator"])


def test_the_environment_of_the_service_is_for_its_owner_only(used: House) -> None:
    for kind in (REDIS, WEB, WORKER):
        pid = used.running.pid(kind)
        assert stat.S_IMODE(Path(f"/proc/{pid}/environ").stat().st_mode) == 0o400


@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(agent, id=repr(agent[:8]))
        for agent in (
            b"\x1b[2J\x1b]0;t\x07",
            b"a\r\nX: 2026-01-01 INFO api: forged",
            b"a\0b",
            b"\xff\xfe",
            b"x" * 1_000_000,
        )
    ],
)
def test_x3_no_header_or_path_breaks_a_line_of_the_log(used: House, agent: bytes) -> None:
    before = used.running.log.stat().st_size
    for target in (b"/v1/api/shop/once/async", b"/v1/api/%0d%0aforged%1b%5b2J/x/async"):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\nUser-Agent: %b\r\n\r\n"
        with socket.create_connection(("127.0.0.1", used.port), timeout=20) as connection:
            with suppress(ConnectionError):  # it may be refused before all of it is sent
                connection.sendall(head % (target, agent))
            assert re.match(rb"HTTP/1.1 (202|4\d\d) ", connection.recv(100))

    def told() -> list[str]:
        return [
            line
            for line in used.running.log.read_bytes()[before:].decode().split("\n")
            if " status=" in line or '"status"' in line
        ]

    eventually(lambda: len(told()) >= 2)
    for line in used.running.log.read_bytes()[before:].decode().split("\n"):
        assert line.isprintable()
        assert len(line) < 5_000
        assert "forged" not in line or "path" in line
