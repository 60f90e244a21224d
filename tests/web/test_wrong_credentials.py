"""Wrong credentials in numbers, sent to the web processes as they run in service, and while Redis is away."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, FAILURES, HASHED, TOKEN, Gunicorn, Site, accepted, basic, refusal
from trigger.config.model import ServerConfig
from trigger.store import wrong_credentials

CONNECTIONS = 40
SECONDS = 4.0
DEFAULT = ServerConfig().auth_failures


def test_all_processes_together_allow_as_many_as_the_limit(gunicorn: Gunicorn, redis: Redis) -> None:
    source = "127.0.0.11"
    wrong = {"token": "wrong-but-not-short"}
    answers = Counter(gunicorn.call("keyed/one", headers=wrong, source=source).status for _ in range(8 * FAILURES))
    assert answers == {401: FAILURES, 429: 7 * FAILURES}
    for _ in range(10):
        accepted(gunicorn.call("keyed/one", headers={"token": TOKEN}, source=source))


@pytest.fixture(scope="module")
def by_default(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes with the limit that counts when the config says none."""
    folder = tmp_path_factory.mktemp("by_default")
    (folder / "config.yaml").write_text(CONFIG.replace(f"auth_failures: {FAILURES}", f"auth_failures: {DEFAULT}"))
    with Gunicorn(folder, redis_server.url) as web:
        yield web


def test_wrong_passwords_in_numbers_delay_nobody_else(by_default: Gunicorn, redis: Redis) -> None:
    gunicorn, stop = by_default, threading.Event()
    answers: Counter[int] = Counter()

    def attack(number: int) -> None:
        tried = 0
        while not stop.is_set():
            headers = basic("ada", f"guess {number} {tried}")
            answers[gunicorn.call("named/hashed", headers=headers, source="127.0.0.12").status] += 1
            tried += 1
            stop.wait(0.1)

    attackers = [threading.Thread(target=attack, args=(number,)) for number in range(CONNECTIONS)]
    waited = []
    for thread in attackers:
        thread.start()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            answer = gunicorn.call("open/order", body=b"{}")  # authentication and input, and the queue stays empty
            assert refusal(answer).status == 400
            waited.append(time.monotonic() - began)
            time.sleep(0.02)
    finally:
        stop.set()
        for thread in attackers:
            thread.join()
    print(f"median {statistics.median(waited):.3f} s, longest {max(waited):.3f} s of {len(waited)}; {answers}")
    assert set(answers) <= {401, 429}
    assert answers[401] <= DEFAULT
    assert len(waited) > answers[401]  # calls went on between the computations; they had waited for them
    accepted(gunicorn.call("named/hashed", headers=basic("ada", HASHED), source="127.0.0.13"))


def test_right_credentials_cost_no_round_trip(site: Site, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(*_: object) -> list[tuple[int, float]]:
        raise AssertionError("Redis was asked")

    monkeypatch.setattr(wrong_credentials, "count", count)
    accepted(site.call("keyed/one", headers={"token": TOKEN}))
    accepted(site.call("named/hashed", headers=basic("ada", HASHED)))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path / "redis", fsync="no") as server:
        yield server


@pytest.mark.parametrize("hung", [False, True])
def test_a18_while_redis_is_away_wrong_credentials_get_their_answers(
    make_site: MakeSite, own_redis: OwnRedis, hung: bool
) -> None:
    site = make_site(redis_url=own_redis.url)
    accepted(site.call("keyed/one", headers={"token": TOKEN}))
    if hung:
        os.kill(own_redis.process.pid, signal.SIGSTOP)
    else:
        own_redis.kill()
    wrong = {"token": "wrong-but-not-short"}
    answers = [refusal(site.call("keyed/one", headers=wrong)).status for _ in range(FAILURES + 2)]
    assert answers == [401] * FAILURES + [429] * 2
    assert refusal(site.call("keyed/one", headers={"token": TOKEN})).status == 503
    if hung:
        os.kill(own_redis.process.pid, signal.SIGCONT)
