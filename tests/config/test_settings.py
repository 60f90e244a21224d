"""The environment's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trigger.config import Settings
from trigger.errors import UsageError

WRONG_ADDRESSES = [
    "8080",
    "localhost",
    ":80",
    "h:x",
    "h:65536",
    "h:-1",
    "::1:80",
    "[::1]",
    "[x]:80",
    "300.1.1.1:80",
    "a_b:80",
    "unix:",
    "unix:relative",
    "http://h:80",
]


def test_an_empty_environment_gives_the_defaults() -> None:
    expected = Settings(Path("config.yaml"), "127.0.0.1", 8080, None, Path("data"), None, None, "text")
    assert Settings.from_environ({}) == expected
    empty = dict.fromkeys(
        ["TRIGGER_CONFIG", "TRIGGER_BIND", "TRIGGER_DATA", "TRIGGER_WORKERS", "REDIS_URL", "TRIGGER_LOG"], ""
    )
    assert Settings.from_environ(empty) == expected


def test_as_many_workers_as_there_are_cores() -> None:
    assert Settings.from_environ({"TRIGGER_WORKERS": "auto"}).workers == len(os.sched_getaffinity(0))


def test_everything_can_be_set() -> None:
    settings = Settings.from_environ(
        {
            "TRIGGER_CONFIG": "/etc/t.yaml",
            "TRIGGER_BIND": "0.0.0.0:80",
            "TRIGGER_DATA": "/var/t",
            "TRIGGER_WORKERS": "64",
            "REDIS_URL": "redis://:hunter2@h",
            "TRIGGER_LOG": "json",
        }
    )
    assert (settings.config, settings.host, settings.port, settings.data) == (
        Path("/etc/t.yaml"),
        "0.0.0.0",
        80,
        Path("/var/t"),
    )
    assert (settings.workers, settings.log) == (64, "json")
    assert settings.redis_url is not None
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("bind", "host", "port", "loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        ("127.9.9.9:80", "127.9.9.9", 80, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("[::]:8080", "::", 8080, False),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("10.0.0.1:8080", "10.0.0.1", 8080, False),
        ("localhost.example.org:1", "localhost.example.org", 1, False),
    ],
)
def test_an_address_is_read_and_known_as_loopback_or_not(bind: str, host: str, port: int, loopback: bool) -> None:
    settings = Settings.from_environ({"TRIGGER_BIND": bind})
    assert (settings.host, settings.port, settings.unix, settings.loopback) == (host, port, None, loopback)


def test_a_unix_socket_is_loopback() -> None:
    settings = Settings.from_environ({"TRIGGER_BIND": "unix:/run/trigger.sock"})
    assert (settings.unix, settings.loopback) == (Path("/run/trigger.sock"), True)


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        *(("TRIGGER_BIND", value, "127.0.0.1:8080") for value in WRONG_ADDRESSES),
        *(
            ("TRIGGER_WORKERS", value, "auto, or a whole number from 1 to 64")
            for value in ["0", "65", "-1", "two", "1.5", "\u0662"]
        ),
        ("TRIGGER_LOG", "xml", "text or json"),
        ("REDIS_URL", "localhost:6379", "redis://"),
        ("TRIGGER_CONFIG", "  ", "config.yaml"),
    ],
)
def test_a_wrong_variable_is_named_with_what_would_be_right(variable: str, value: str, right: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_environ({variable: value})
    assert str(caught.value).startswith(variable)
    assert right in str(caught.value)


def test_a_wrong_redis_url_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_environ({"REDIS_URL": "http://:hunter2@h"})
    assert "hunter2" not in str(caught.value)
