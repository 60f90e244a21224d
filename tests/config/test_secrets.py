"""Secrets: none is weak by mistake, none is shown (A4 to A6, D3, D7, D11)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trigger.config import TokenAuth, hash_secret, load
from trigger.errors import ConfigError

from .writing import api, loaded, mistake, mistakes, write

CANARY = "hunter2hunter2hunter2"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("''", "is empty"),
        ("", "has no value"),
        ("null", "has no value"),
        ("~", "has no value"),
        ("'   '", "blank"),
        ("' x'", "blank"),
        ("'x '", "blank"),
        ('"a\\tb"', "control character"),
        ('"a\\nb"', "control character"),
        ('"a\\0b"', "control character"),
        ('"${TOKEN}"', "TOKEN is not set"),
        ('"${EMPTY}"', "is empty"),
        ('"${EMPTY:-}"', "is empty"),
        ('"${file:token}"', "'token' does not exist"),
        ("[a]", "one value, not a list"),
        ("scrypt:32768:8:1$salt", "no hash"),
        ("scrypt:3:8:1$salt$" + "0" * 128, "no hash"),
        ("scrypt:32768:8:1$salt$zz", "no hash"),
    ],
)
def test_a_secret_that_is_none_is_a_mistake(tmp_path: Path, written: str, message: str) -> None:
    message = message.replace("no hash", "is none")
    found = mistake(tmp_path, api("", auth=f"{{mode: token, token: {written}}}"), {"EMPTY": ""})
    assert (found.line, found.key) == (8 - 1, "modules.shop.methods.order.auth.token")
    assert message in found.message


def test_a_file_with_only_a_line_end_is_an_empty_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert "is empty" in mistake(tmp_path, api("", auth="{mode: token, token: '${file:token}'}")).message


@pytest.mark.parametrize(
    "auth",
    [
        "{mode: none, token: x}",
        "{mode: none, tokens: {a: x}}",
        "{mode: none, users: {a: x}}",
        "{mode: token, token: aaaaaaaaaaaaaaaa, users: {a: x}}",
    ],
)
def test_credentials_that_the_mode_does_not_take_are_refused(tmp_path: Path, auth: str) -> None:
    assert "takes no" in mistake(tmp_path, api("", auth=auth)).message


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("{mode: Token, token: x}", "did you mean 'token'?"),
        ("{mode: '', token: x}", "none, token, password or signature"),
        ("{mode: token, tokens: {}}", "at least one"),
        ("{mode: password, users: {}}", "at least one"),
        ("{mode: token, token: aaaaaaaaaaaaaaaa, tokens: {a: bbbbbbbbbbbbbbbb}}", "exactly one"),
        ("{mode: password, users: {'a:b': aaaaaaaaaaaaaaaa}}", "':'"),
        ("{mode: password, users: {' a': aaaaaaaaaaaaaaaa}}", "blank"),
        ("{mode: password, users: {'': aaaaaaaaaaaaaaaa}}", "1 to 64"),
    ],
)
def test_auth_that_is_not_clear_is_refused(tmp_path: Path, auth: str, message: str) -> None:
    assert message in mistake(tmp_path, api("", auth=auth)).message


@pytest.mark.parametrize(
    ("token", "message"), [("123456", "demo"), ("changeme", "shorter than 16"), ("fifteen-letters", "shorter than 16")]
)
def test_a_weak_secret_is_a_warning_at_its_place(tmp_path: Path, token: str, message: str) -> None:
    config = loaded(tmp_path, api("", auth=f"{{mode: token, token: {token}}}"))
    assert [(one.line, one.key, message in one.message) for one in config.warnings] == [
        (7, "modules.shop.methods.order.auth.token", True)
    ]
    assert token not in str(config.warnings)


def test_a_long_secret_and_a_hash_are_no_warnings(tmp_path: Path) -> None:
    tokens = f"{{plain: {CANARY}, hash: '{hash_secret('short')}'}}"
    config = loaded(tmp_path, api("", auth=f"{{mode: token, tokens: {tokens}}}"))
    auth = config.apis["shop", "order"].auth
    assert isinstance(auth, TokenAuth)
    assert auth.tokens["hash"].matches(b"short")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("mode", "token", "expected"),
    [
        (0o644, CANARY, "everybody on this machine may read"),
        (0o666, CANARY, "everybody on this machine may write"),
        (0o666, "'${TOKEN}'", "everybody on this machine may write"),
        (0o644, "'${TOKEN}'", None),
        (0o640, CANARY, None),
        (0o644, "123456", "demo"),
    ],
)
def test_a_file_with_secrets_that_everybody_may_read_is_a_warning(
    tmp_path: Path, mode: int, token: str, expected: str | None
) -> None:
    path = write(tmp_path, api("", auth=f"{{mode: token, token: {token}}}"))
    path.chmod(mode)
    warnings = load(path, {"TOKEN": CANARY}).warnings
    assert [expected in one.message for one in warnings] == ([True] if expected else []), warnings  # type: ignore[operator]


def test_an_operator_with_an_empty_password_is_off(tmp_path: Path) -> None:
    text = "modules: {}\noperators:\n  on: ${ON}\n  off: ${OFF:-}\n  also: ''\n"
    assert set(loaded(tmp_path, text, {"ON": CANARY}).operators) == {"on"}


def test_an_operators_password_is_a_secret_like_any_other(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "modules: {}\noperators:\n  a: ' x'\n  b:\n  c:d: x\n  e: ${NOT_SET}\n")
    assert [one.line for one in found] == [3, 4, 5, 6]


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://u:p@h", "unix:///run/r.sock", "redis://[::1]:6379"])
def test_the_redis_url_is_kept_as_a_secret(tmp_path: Path, url: str) -> None:
    config = loaded(tmp_path, "modules: {}\nredis: ${REDIS_URL:-}\n", {"REDIS_URL": url})
    assert config.redis is not None
    assert config.redis.reveal() == url
    assert loaded(tmp_path, "modules: {}\nredis: ${REDIS_URL:-}\n").redis is None


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{CANARY}@h",
        f"redis:{CANARY}",
        f"redis://:{CANARY}@",
        f"redis://:{CANARY}@h:99999",
        f"redis://[{CANARY}",
        "unix://",
    ],
)
def test_a_redis_url_that_is_none_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    found = mistake(tmp_path, "modules: {}\nredis: ${REDIS_URL:-}\n", {"REDIS_URL": url})
    assert found.line == 2
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    "keys",
    [
        f"auth: {{mode: token, token: ' {CANARY}'}}",
        f'auth: {{mode: token, token: "{CANARY}\\n"}}',
        f"auth: {{mode: none, token: {CANARY}}}",
        f"auth: {{mode: {CANARY}}}",
        f"auth: {CANARY}",
        f"auth: [{CANARY}]",
        f"auth: {{mode: token, {CANARY}}}",
        f"auth: {{mode: token, token {CANARY}}}",
        f"auth: {{mode: token, token:{CANARY}}}",
        f"auth: {{mode: token, tokens: {{{CANARY}}}}}",
        f"auth: {{mode: token, tokens: {{ci {CANARY}}}}}",
        f"auth: {{mode: token, tokens: {CANARY}}}",
        f"auth: {{mode: token, tokens: [{CANARY}]}}",
        f"auth: {{mode: password, users: {{ada: '{CANARY} '}}}}",
        f"auth: {{mode: password, users: {{ada {CANARY}}}}}",
        f"auth: {{mode: token, token: !{CANARY} }}",
        f"auth: {{mode: token, token: *{CANARY} }}",
        f"auth: {{mode: token, token: &{CANARY} }}",
        f"auth: {{mode: token, token: @{CANARY} }}",
        f"auth: {{mode: token, token: '{CANARY} }}",
        f"auth: {{mode: token, token: {CANARY}: x: }}",
        f"auth:\n  mode: token\n  token:{CANARY}",
        f"auth:\n  mode: token\n  token: {CANARY}: x",
        f"auth:\n  mode: token\n  token: {CANARY}\n\ttab: x",
        f"auth:\n  mode: token\n  token: {CANARY}\n  token: {CANARY}",
        f"auth: {{mode: token, token: 'x${{{CANARY}'}}",
        f"auth: {{mode: token, token: 'x${{ {CANARY}}}'}}",
        f"auth: {{mode: token, token: '${{NOT_SET}}{CANARY}'}}",
        f"auth: {{mode: token, token: 'scrypt:{CANARY}'}}",
        "auth: {mode: token, token: ' ${SECRET}'}",
        "auth: {mode: '${SECRET}'}",
        "auth: {mode: none}\nenabled: ${SECRET}",
        "auth: {mode: none}\nverbs: ['${SECRET}']",
        "auth: {mode: none}\nworkflow: ${SECRET}",
        "auth: {mode: none}\ninput: {fields: {a: {type: '${SECRET}'}}}",
        "auth: {mode: none}\ninput: {fields: {a: {type: integer, min: '${SECRET}'}}}",
        "auth: {mode: none}\ninput: {fields: {a: {type: string, pattern: '${SECRET}('}}}",
        "auth: {mode: none}\ninput: {fields: {a: {type: string, pattern: '(?P<${SECRET}->)'}}}",
    ],
)
def test_no_message_shows_a_secret(tmp_path: Path, keys: str) -> None:
    text = (
        "modules:\n  m:\n    methods:\n      n:\n        workflow: 'x.y:z'\n"
        if "workflow" not in keys
        else "modules:\n  m:\n    methods:\n      n:\n"
    )
    text += "".join(f"        {line}\n" for line in keys.split("\n"))
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, {"SECRET": CANARY})
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert CANARY not in repr(caught.value.mistakes)


def test_no_repr_of_a_config_shows_a_secret(tmp_path: Path) -> None:
    text = (
        api("", auth=f"{{mode: password, users: {{ada: {CANARY}}}}}")
        + f"operators: {{root: {CANARY}}}\nredis: redis://:{CANARY}@h\n"
    )
    config = loaded(tmp_path, text)
    assert CANARY not in repr(config)
    assert CANARY not in str(config)


def test_a_pipe_in_the_place_of_a_secrets_file_is_refused_without_waiting(tmp_path: Path) -> None:
    subprocess.run(["mkfifo", str(tmp_path / "token")], check=True)
    assert "not a regular file" in mistake(tmp_path, api("", auth="{mode: token, token: '${file:token}'}")).message


@pytest.mark.parametrize(
    ("make", "message"), [(b"\xff", "not UTF-8"), (b"x" * (1024 * 1024 + 1), "larger than 1024 KiB")]
)
def test_a_secrets_file_that_can_be_none_is_refused(tmp_path: Path, make: bytes, message: str) -> None:
    (tmp_path / "token").write_bytes(make)
    assert message in mistake(tmp_path, api("", auth="{mode: token, token: '${file:token}'}")).message


def test_an_environment_value_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert (
        "not UTF-8"
        in mistake(tmp_path, api("description: ${WHO}"), {"WHO": b"\xff".decode("utf-8", "surrogateescape")}).message
    )


def test_a_field_whose_default_or_enum_comes_from_outside_counts_as_secret(tmp_path: Path) -> None:
    fields = (
        "plain: {type: string, default: a}, filled: {type: string, default: 'a ${S}'}, "
        "listed: {type: list, of: {type: string}, default: ['${S}']}, one: {type: string, enum: [a, '${S}']}, "
        "left: {type: string, default: '${UNSET:-a}'}"
    )
    text = (
        "workflows: {w: 'examples.hello:greet'}\n"
        "modules: {m: {methods: {a: {auth: {mode: none}, workflow: w, input: {fields: {" + fields + "}}}}}}\n"
    )
    declared = loaded(tmp_path, text, {"S": "shell-of-a-canary"}).apis["m", "a"].input
    assert declared is not None
    assert {field.name for field in declared.fields if field.secret} == {"filled", "listed", "one"}
