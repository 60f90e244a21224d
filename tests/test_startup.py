"""What must hold before the service starts, with real Redis servers in every state that matters."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from trigger.config.model import Api, Auth, Config, NoAuth, PasswordAuth, ServerConfig, TokenAuth, Workflow
from trigger.config.secret import Secret, hash_secret
from trigger.config.settings import Settings
from trigger.errors import StartError
from trigger.startup import Durability, check_redis, refuse_public_demo, refuse_taken_address


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(own: OwnRedis) -> Iterator[Redis]:
    """A client of a server whose settings a test may change; they are put back."""
    with Redis.from_url(own.url) as redis:
        yield redis
        redis.replicaof("no", "one")
        for name, value in {"appendonly": "yes", "appendfsync": "always", "maxmemory": 0}.items():
            redis.config_set(name, value)
        redis.config_set("maxmemory-policy", "noeviction")


def test_the_private_redis_keeps_all_and_says_so(own_redis: Redis) -> None:
    durability = check_redis(own_redis)
    assert durability.fsync == "always"
    assert durability.warnings == ()
    assert str(durability).endswith(", AOF on, fsync always: an answered call survives a crash and a power cut")


def test_the_line_names_product_and_version(own_redis: Redis) -> None:
    info = own_redis.info()
    product, version = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
    assert str(check_redis(own_redis)).startswith(f"{product} {info[version]}, ")


@pytest.mark.parametrize(("fsync", "promise"), [("everysec", "last 2 seconds"), ("no", "last 30 seconds")])
def test_a_weaker_fsync_is_allowed_and_named_for_what_it_is(own_redis: Redis, fsync: str, promise: str) -> None:
    own_redis.config_set("appendfsync", fsync)
    durability = check_redis(own_redis)
    assert durability.fsync == fsync
    assert promise in str(durability)


def test_without_an_append_only_file_it_warns(own_redis: Redis) -> None:
    own_redis.config_set("appendonly", "no")
    durability = check_redis(own_redis)
    assert durability.fsync is None
    assert "AOF off: an answered call is lost when Redis stops" in str(durability)
    assert any("turn it on: appendonly yes" in warning for warning in durability.warnings)


def test_a_server_that_evicts_is_refused(own_redis: Redis) -> None:
    own_redis.config_set("maxmemory", "1gb")
    own_redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StartError, match=r"maxmemory-policy allkeys-lru, which drops accepted .* set it to noeviction"):
        check_redis(own_redis)


def test_a_policy_that_would_evict_if_there_were_a_limit_is_warned_of(own_redis: Redis) -> None:
    own_redis.config_set("maxmemory-policy", "volatile-ttl")
    (warning,) = check_redis(own_redis).warnings
    assert "volatile-ttl" in warning


def test_a_replica_is_refused(own_redis: Redis) -> None:
    own_redis.replicaof("127.0.0.1", "1")
    with pytest.raises(StartError, match="is a replica, which takes no writes; REDIS_URL must name its master"):
        check_redis(own_redis)


@pytest.mark.parametrize("decode", [True, False])
def test_where_config_may_not_be_read_fsync_is_unknown(own: OwnRedis, own_redis: Redis, decode: bool) -> None:
    own_redis.acl_setuser("limited", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"])
    with Redis.from_url(own.url, username="limited", password="pw", decode_responses=decode) as limited:
        durability = check_redis(limited)
    assert durability.fsync == "unknown"
    assert "which this user may not read" in str(durability)


def test_fsync_is_read_whether_replies_are_decoded_or_not(own: OwnRedis) -> None:
    with Redis.from_url(own.url, decode_responses=True) as redis:
        assert check_redis(redis).fsync == "always"


def test_a_wrong_password_is_refused_without_showing_it(own: OwnRedis) -> None:
    with (
        Redis.from_url(own.url, username="nobody", password="canary-7fd1") as redis,
        pytest.raises(StartError, match=r"refuses our credentials .* REDIS_URL") as caught,
    ):
        check_redis(redis)
    assert "canary" not in str(caught.value)


def test_a_user_that_may_not_ask_is_told_what_it_lacks(own: OwnRedis, own_redis: Redis) -> None:
    own_redis.acl_setuser("blind", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-info"])
    with (
        Redis.from_url(own.url, username="blind", password="pw") as redis,
        pytest.raises(StartError, match=r"may not run INFO; allow it: ACL SETUSER <user> \+info"),
    ):
        check_redis(redis)


class Answering:
    """A Redis that we have no program of: it answers INFO as that one would."""

    def __init__(self, **info: Any) -> None:
        self._info = {"redis_version": "7.2.4", "role": "master", **info}

    def info(self) -> dict[str, Any]:
        return self._info


@pytest.mark.parametrize("version", ["6.0.16", "5.0.3", "2.8.9"])
def test_an_old_server_is_refused(version: str) -> None:
    with pytest.raises(StartError, match=rf"Redis {version} is too old: 6\.2 is needed"):
        check_redis(Answering(redis_version=version))  # type: ignore[arg-type]


def test_a_cluster_is_refused() -> None:
    with pytest.raises(StartError, match="is a cluster"):
        check_redis(Answering(redis_mode="cluster"))  # type: ignore[arg-type]


def test_the_oldest_server_that_will_do_is_taken() -> None:
    expected = "turn it on: appendonly yes, appendfsync always"
    durability = check_redis(Answering(redis_version="6.2.0"))  # type: ignore[arg-type]
    assert durability == Durability("Redis 6.2.0", None, (f"Redis 6.2.0 has its append-only file off; {expected}",))


# Public addresses and public credentials

DEMO = Secret("123456")
OWN = Secret("a-secret-of-our-own-8d2f")


def config(auth: Auth, *, enabled: bool = True, operators: dict[str, Secret] | None = None) -> Config:
    api = Api("admin", "test", auth, Workflow("hello", "examples.hello:greet"), enabled=enabled)
    return Config(
        path=Path("config.yaml"),
        server=ServerConfig(),
        retention=3600,
        operators=operators or {},
        workflows={},
        modules={},
        apis={("admin", "test"): api},
        files=(),
        digest="",
    )


PUBLIC = Settings(host="0.0.0.0", port=8080)


@pytest.mark.parametrize(
    "auth",
    [TokenAuth({"token": DEMO}), TokenAuth({"ci": OWN, "old": DEMO}), PasswordAuth({"ada": OWN, "iolinker": DEMO})],
    ids=["token", "one of two tokens", "one of two users"],
)
def test_a_demo_credential_and_a_public_address_do_not_go_together(auth: Auth) -> None:
    with pytest.raises(StartError, match=r"demo credentials are in force \(admin/test\).*loopback only, not on 0\.0"):
        refuse_public_demo(PUBLIC, config(auth))


def test_a_demo_operator_is_no_better() -> None:
    with pytest.raises(StartError, match=r"\(operator admin\)"):
        refuse_public_demo(PUBLIC, config(NoAuth(), operators={"admin": DEMO}))


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(host="::1"), Settings(host="localhost"), Settings(host="", unix=Path("/run/trigger.sock"))],
    ids=["127.0.0.1", "::1", "localhost", "unix"],
)
def test_where_only_this_machine_can_call_demo_credentials_do(settings: Settings) -> None:
    refuse_public_demo(settings, config(TokenAuth({"token": DEMO})))


@pytest.mark.parametrize("host", ["192.0.2.7", "::", "trigger.example"])
def test_every_other_address_is_public(host: str) -> None:
    with pytest.raises(StartError, match="demo credentials"):
        refuse_public_demo(Settings(host=host), config(TokenAuth({"token": DEMO})))


def test_credentials_of_ones_own_do_anywhere() -> None:
    refuse_public_demo(PUBLIC, config(TokenAuth({"token": OWN}), operators={"admin": OWN}))


def test_what_is_not_enabled_does_not_count() -> None:
    refuse_public_demo(PUBLIC, config(TokenAuth({"token": DEMO}), enabled=False))


def test_hashes_are_not_tried_which_would_take_hours_with_many_apis() -> None:
    refuse_public_demo(PUBLIC, config(TokenAuth({"token": Secret(hash_secret("123456"))})))


# Addresses


def test_a_free_address_is_fine_and_stays_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        refuse_taken_address(Settings(port=port))


def test_an_address_in_use_is_refused_even_if_its_owner_would_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trigger.startup.PATIENCE_SECONDS", 0.1)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"can't listen on 127\.0\.0\.1 port {port}: Address already in use"):
            refuse_taken_address(Settings(port=port))


def test_an_address_that_is_not_ours_is_refused_at_once() -> None:
    with pytest.raises(StartError, match=r"can't listen on 192\.0\.2\.7 .* set TRIGGER_BIND"):
        refuse_taken_address(Settings(host="192.0.2.7"))


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(StartError, match=r"can't listen on no-such-host\.invalid"):
        refuse_taken_address(Settings(host="no-such-host.invalid"))


def test_an_address_whose_owner_is_just_leaving_is_waited_for(own: OwnRedis) -> None:
    """After a kill of the whole service its web is still there for a moment."""
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    port = other.getsockname()[1]
    waiting = threading.Thread(target=refuse_taken_address, args=[Settings(port=port)])
    waiting.start()
    other.close()
    eventually(lambda: not waiting.is_alive())
