"""What `up` says and refuses; tests/test_make_run.py sees the whole of it from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.programs import free_port
from tests.running import Running, starting
from tests.support import ROOT, OwnRedis, environment, eventually, process
from trigger.config.model import Api, Auth, Config, NoAuth, PasswordAuth, ServerConfig, TokenAuth, Workflow
from trigger.config.secret import Secret, hash_secret
from trigger.config.settings import Settings
from trigger.fields.model import Field, Input
from trigger.inforce import InForce
from trigger.redis_server import LOG_LIMIT, RedisServer, private_redis_url
from trigger.up import Crew
from trigger.up.greeting import console_lines, greeting

HELLO = Workflow("hello", "examples.hello:greet")
OWN = Secret("canary-of-our-own-8d2f")


def api(name: str, auth: Auth, **options: object) -> Api:
    return Api("shop", name, auth, HELLO, **{"enabled": True, **options})  # type: ignore[arg-type]


def config(*apis: Api, workflows: tuple[Workflow, ...] = (HELLO,)) -> Config:
    return Config(
        path=Path("config.yaml"),
        server=ServerConfig(),
        retention=3600,
        operators={},
        workflows={workflow.name: workflow for workflow in workflows},
        modules={},
        apis={(api.module, api.method): api for api in apis},
        files=(),
        digest="",
    )


def curls(*apis: Api, settings: Settings | None = None) -> list[str]:
    lines = greeting(settings or Settings(), config(*apis), 1.23, []).splitlines()
    return [line.strip() for line in lines if line.strip().startswith("curl")]


def test_it_shows_the_first_enabled_api_of_each_kind() -> None:
    demo = Secret("123456")
    assert curls(
        api("off", NoAuth(), enabled=False),
        api("token", TokenAuth({"token": demo})),
        api("open", NoAuth()),
        api("open2", NoAuth()),
        api("password", PasswordAuth({"ada": demo})),
    ) == [
        "curl -d '{}' http://127.0.0.1:8080/v1/api/shop/open/async",
        "curl -H'token:123456' -d '{}' http://127.0.0.1:8080/v1/api/shop/token/async",
        "curl -H'user:ada' -H'password:123456' -d '{}' http://127.0.0.1:8080/v1/api/shop/password/async",
    ]


@pytest.mark.parametrize("secret", [OWN, Secret(hash_secret("123456"))], ids=["ours", "hashed"])
def test_it_shows_no_secret(secret: Secret) -> None:
    lines = curls(api("token", TokenAuth({"ci": secret})), api("password", PasswordAuth({"ada": secret})))
    assert "-H'token:YOUR-TOKEN'" in lines[0]
    assert "-H'user:ada' -H'password:YOUR-PASSWORD'" in lines[1]


def test_an_api_with_required_input_is_called_with_its_simulated_request() -> None:
    needed = Input((Field("name", "string", required=True),))
    (line,) = curls(api("hello", NoAuth(), input=needed, debug={"name": "O'Hara"}))
    assert """-d '{"name": "O'\\''Hara"}'""" in line
    done = subprocess.run(["/bin/sh", "-c", f"printf %s {line.split('-d ')[1].split(' http')[0]}"], capture_output=True)
    assert done.stdout == b'{"name": "O\'Hara"}'


def test_a_get_only_api_is_called_without_a_body() -> None:
    assert curls(api("hello", NoAuth(), verbs=("GET",))) == ["curl http://127.0.0.1:8080/v1/api/shop/hello/async"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(host="::1", port=9000), "curl -d '{}' http://[::1]:9000/v1/api/shop/hello/async"),
        (
            Settings(host="", port=0, unix=Path("/run/my trigger.sock")),
            "curl --unix-socket '/run/my trigger.sock' -d '{}' http://localhost/v1/api/shop/hello/async",
        ),
    ],
    ids=["IPv6", "unix"],
)
def test_the_line_fits_the_address(settings: Settings, expected: str) -> None:
    assert curls(api("hello", NoAuth()), settings=settings) == [expected]


def test_without_an_enabled_api_it_only_says_where_it_is_and_how_to_stop() -> None:
    text = greeting(Settings(), config(api("off", NoAuth(), enabled=False)), 1.23, ["Console: somewhere"])
    assert text.split("\n\n") == [
        "Trigger is ready on http://127.0.0.1:8080 (1.2 s)",
        "Console: somewhere",
        "Ctrl-C stops it.",
    ]


LATER = "user admin, password in data/admin.password"


@pytest.mark.parametrize(
    ("settings", "server", "base"),
    [
        (Settings(), ServerConfig(), "http://127.0.0.1:8080"),
        (Settings(host="0.0.0.0", port=80), ServerConfig(), "http://127.0.0.1:80"),
        (Settings(host="::", port=80), ServerConfig(), "http://[::1]:80"),
        (Settings(host="trigger.lan"), ServerConfig(), "http://trigger.lan:8080"),
        (Settings(), ServerConfig(hosts=("trigger.example.org",)), "http://trigger.example.org:8080"),
        (Settings(), ServerConfig(hosts=(".example.org:81",)), "http://example.org:81"),
        (Settings(), ServerConfig(hosts=("trigger.example.org",), proxies=1), "https://trigger.example.org"),
    ],
)
def test_the_link_leads_to_where_a_browser_finds_the_console(
    settings: Settings, server: ServerConfig, base: str
) -> None:
    ours = replace(config(), operators={"admin": OWN}, server=server)
    assert console_lines(settings, ours, "KEY", made=True) == [
        f"Console: {base}/console/sign-in?key=KEY",
        f"  (signs in once, within an hour; later: {LATER})",
    ]
    assert console_lines(settings, ours, None, made=True) == [f"Console: {base}/console/ ({LATER})"]
    assert console_lines(settings, ours, None, made=False) == [f"Console: {base}/console/"]


def test_on_a_socket_there_is_no_link_but_a_hint() -> None:
    settings = Settings(host="", port=0, unix=Path("/run/trigger.sock"))
    ours = replace(config(), operators={"admin": OWN})
    assert console_lines(settings, ours, "KEY", made=True) == [
        f"Console: /console/, through the proxy in front of the socket ({LATER})"
    ]
    assert console_lines(settings, ours, None, made=False) == [
        "Console: /console/, through the proxy in front of the socket"
    ]


def test_without_an_operator_it_says_how_to_switch_the_console_on() -> None:
    assert console_lines(Settings(), config(), None, made=False) == [
        "Console: off; to switch it on, name an operator in config.yaml, such as "
        "operators: {admin: ${TRIGGER_ADMIN_PASSWORD:-}}"
    ]


def test_each_queue_has_its_workers_and_the_default_one_is_always_served() -> None:
    slow = Workflow("slow", "examples.hello:greet", queue="slow")
    ours = config(workflows=(slow,))
    made = Crew(Settings(workers=2), print, InForce(Settings()), {}).programs(ours)
    assert [program.name for program in made] == [
        "worker-default-1",
        "worker-default-2",
        "worker-slow-1",
        "worker-slow-2",
    ]
    assert made[2].command[-2:] == ["--queue", "slow"]


# The whole, as `make run` runs it


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with starting(tmp_path) as start:
        yield start


def ready(service: Running) -> dict[str, Any]:
    answer: dict[str, Any] = service.curl("/readyz")
    return answer


SLOW = "  hello: examples.hello:greet", "  hello: {python: 'examples.hello:greet', queue: slow}"


def test_a_queue_that_an_edit_brings_has_workers_soon(start: Callable[..., Running]) -> None:
    """found.md 20"""
    service = start(TRIGGER_WORKERS="1")
    text = service.config.read_text()
    assert SLOW[0] in text
    service.config.write_text(text.replace(*SLOW))
    eventually(lambda: ready(service)["workers"].get("slow") == 1)
    service.succeeds(service.uid("-d", "{}", "/v1/api/iolinker/test/async"))
    assert ready(service)["problems"] == []
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [(("enabled: true", "enabld: true"), "enabld"), ((SLOW[0], "  hello: examples.hello:gret"), "gret")],
    ids=["a mistake", "code that does not import"],
)
def test_it_starts_with_the_last_good_version_and_says_so(
    start: Callable[..., Running], edit: tuple[str, str], wrong: str
) -> None:
    """found.md 21: an edit that was refused, and that nobody noticed, was an outage at the next boot."""
    first = start(TRIGGER_WORKERS="1", TRIGGER_ADMIN_PASSWORD="")
    assert first.stop() == 0
    good = first.config.read_text()
    first.config.write_text(good.replace(*edit))
    service = start(TRIGGER_WORKERS="1", TRIGGER_ADMIN_PASSWORD="")
    assert "the config has mistakes and is not taken up; the last good version goes on serving" in service.said
    assert wrong in service.said
    service.succeeds(service.uid("-d", "{}", "/v1/api/iolinker/test/async"))
    eventually(lambda: all(ready(service)["config"].get("refused") for _ in range(8)))
    first.config.write_text(good)
    eventually(lambda: all("refused" not in ready(service)["config"] for _ in range(8)))
    assert service.stop() == 0


def test_without_a_good_version_a_mistake_is_the_end(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("moduls: {}\n")
    with pytest.raises(AssertionError, match=r"config\.yaml:1:1: moduls"):
        start()


def test_an_overlong_log_of_redis_is_put_aside_while_it_runs(start: Callable[..., Running]) -> None:
    service = start(TRIGGER_WORKERS="1")
    log = service.folder / "data/redis.log"
    with log.open("ab") as file:
        file.write(b"x" * (LOG_LIMIT + 1))
    eventually(lambda: (aside := log.with_suffix(".log.1")).exists() and aside.stat().st_size > LOG_LIMIT)
    with Redis.from_url(private_redis_url(service.folder / "data")) as redis:
        redis.bgrewriteaof()
        eventually(lambda: log.exists() and "append only file rewriting" in log.read_text())


def test_an_address_and_a_socket_of_another_service_are_refused(start: Callable[..., Running], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    environ = up(tmp_path, "")
    environ |= {"TRIGGER_BIND": f"unix:{path}", "TRIGGER_DATA": str(tmp_path / "other"), "TRIGGER_WORKERS": "1"}
    with process(["up"], environ, tmp_path / "first"):
        eventually(lambda: "Trigger is ready" in (tmp_path / "first").read_text(), within=60)
        assert path.stat().st_mode & 0o777 == 0o770
        second = subprocess.run(
            [sys.executable, "-m", "trigger", "up"],
            env={**environ, "TRIGGER_DATA": str(tmp_path / "third")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 1
    assert f"can't listen on {path}: another process does" in second.stderr
    assert not path.exists()


# The real thing, with a Redis of one's own


def up(folder: Path, redis_url: str) -> dict[str, str]:
    (folder / "config.yaml").write_bytes((ROOT / "config.yaml").read_bytes())
    return environment(folder, redis_url, TRIGGER_BIND=f"127.0.0.1:{free_port()}", PYTHONPATH=str(ROOT))


def test_a_redis_that_evicts_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as server:
        with Redis.from_url(server.url) as redis:
            redis.config_set("maxmemory", "100mb")
            redis.config_set("maxmemory-policy", "allkeys-lru")
        done = subprocess.run(
            [sys.executable, "-m", "trigger", "up"],
            env=up(tmp_path, server.url),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "maxmemory-policy allkeys-lru" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_redis_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as server:
        server.kill()
        log = tmp_path / "log"
        with process(["up"], up(tmp_path, server.url), log):
            eventually(lambda: "listening on" in log.read_text(), within=60)
            assert "is ready" not in log.read_text()
            server.start()
            eventually(lambda: "Trigger is ready on" in log.read_text(), within=60)


def test_one_that_will_not_do_when_it_comes_ends_the_service_in_order(tmp_path: Path) -> None:
    data = tmp_path / "redis"
    data.mkdir(mode=0o700)
    server = RedisServer(data)
    server.prepare()
    log = tmp_path / "log"
    with process(["up"], up(tmp_path, server.url), log) as service:
        eventually(lambda: "listening on" in log.read_text(), within=60)
        evicting = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]
        redis = subprocess.Popen([*server.command, *evicting], start_new_session=True)
        try:
            assert service.wait(60) == 1
        finally:
            redis.kill()
            redis.wait()
    assert log.read_text().splitlines()[-1].endswith("set it to noeviction")
    assert "Traceback" not in log.read_text()
