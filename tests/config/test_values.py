"""What a valid config becomes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trigger.config import MISSING, Input, NoAuth, PasswordAuth, TokenAuth, Workflow, load
from trigger.config.model import Retry, ServerConfig
from trigger.config.scalars import core, duration, size
from trigger.errors import ConfigError

from .writing import MINIMAL, api, loaded


def test_it_is_known_what_of_the_debug_data_came_from_outside(tmp_path: Path) -> None:
    debug = 'debug: {key: "${KEY}", plain: x, or: "${GONE:-x}", list: [{of: "${KEY}"}, {of: "a ${KEY}"}]}'
    order = loaded(tmp_path, api(debug), {"KEY": "k"}).apis["shop", "order"]
    assert order.outside == (("key",), ("list", "*", "of"))
    assert loaded(tmp_path, api('debug: "${KEY}"'), {"KEY": "k"}).apis["shop", "order"].outside == ((),)
    assert loaded(tmp_path, MINIMAL).apis["shop", "order"].outside == ()


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, MINIMAL)
    order = config.apis["shop", "order"]
    assert config.server == ServerConfig()
    assert (config.retention, config.redis, config.files[0]) == (7 * 86400, None, tmp_path / "config.yaml")
    assert (order.verbs, order.enabled, order.input, order.debug, order.line) == (
        ("GET", "POST"),
        True,
        None,
        MISSING,
        6,
    )
    assert order.auth == NoAuth()
    assert order.workflow == Workflow(name="hello", python="examples.hello:greet", timeout=600.0, queue="default")
    assert config.modules["shop"].methods == ("order",)


def test_an_api_is_off_until_it_says_enabled(tmp_path: Path) -> None:
    assert loaded(tmp_path, MINIMAL.replace("        enabled: true\n", "")).apis["shop", "order"].enabled is False


def test_a_workflow_may_be_a_mapping_or_be_named_where_it_is_used(tmp_path: Path) -> None:
    text = (
        "workflows: {a: {python: 'x.y:z.run', description: d, timeout: 10m, queue: slow}}\n"
        "modules: {m: {methods: {n: {auth: {mode: none}, workflow: 'x.y:z'}}}}\n"
    )
    config = loaded(tmp_path, text)
    assert config.workflows["a"] == Workflow("a", "x.y:z.run", "d", 600.0, "slow")
    assert config.apis["m", "n"].workflow == config.workflows["x.y:z"] == Workflow("x.y:z", "x.y:z")


@pytest.mark.parametrize(
    "written",
    [
        "0123456",
        "1234567",
        "no",
        "1e10",
        "2026-01-31",
        "12:30:45",
        "true",
        "0x1F",
        "1_000",
        "3.10",
        "Null.",
        "'null'",
        '"no"',
    ],
)
def test_a_text_is_the_characters_that_were_written(tmp_path: Path, written: str) -> None:
    config = loaded(tmp_path, api(f"description: {written}", auth=f"{{mode: token, token: {written}}}"))
    order, text = config.apis["shop", "order"], written.strip("'\"")
    assert isinstance(order.auth, TokenAuth)
    assert order.description == text
    assert order.auth.tokens["token"].matches(text.encode())


def test_values_of_text_fields_are_characters_and_others_json(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        api("""
            input:
              fields:
                zip: {type: string, default: 0123, enum: [0123, no]}
                day: {type: date, default: 2026-01-31}
                n: {type: integer, default: 3, min: 1, max: 10}
                list: {type: list, of: {type: string}, default: [1, no]}
                any: {type: any, default: [1, "1", no, null, 1.5, true]}
                none: {type: string, nullable: true, default: null}
                deep: {type: object, fields: {a: {type: integer}}, default: {a: 1}}
                free: {type: object}
              unknown: keep
        """),
    )
    declared = config.apis["shop", "order"].input
    assert isinstance(declared, Input)
    fields = {field.name: field for field in declared.fields}
    assert {name: field.default for name, field in fields.items() if field.default is not MISSING} == {
        "zip": "0123",
        "day": "2026-01-31",
        "n": 3,
        "list": ["1", "no"],
        "any": [1, "1", "no", None, 1.5, True],
        "none": None,
        "deep": {"a": 1},
    }
    assert fields["zip"].enum == ("0123", "no")
    assert fields["list"].of is not None
    assert (fields["list"].of.name, fields["free"].unknown, fields["deep"].unknown, declared.unknown) == (
        "",
        "keep",
        "reject",
        "keep",
    )


def test_the_simulated_request_is_any_json(tmp_path: Path) -> None:
    config = loaded(tmp_path, api("debug: {a: [1, -2.5, true, null, no, '1', ~, 0123, ''], b: {}}"))
    assert config.apis["shop", "order"].debug == {"a": [1, -2.5, True, None, "no", "1", None, "0123", ""], "b": {}}
    assert loaded(tmp_path, api("debug: null")).apis["shop", "order"].debug is None


def test_tokens_and_users_keep_their_names(tmp_path: Path) -> None:
    tokens = loaded(tmp_path, api("", auth="{mode: token, tokens: {ci: aaaaaaaaaaaaaaaa, backup: bbbbbbbbbbbbbbbb}}"))
    auth = tokens.apis["shop", "order"].auth
    assert isinstance(auth, TokenAuth)
    assert auth.tokens["backup"].matches(b"bbbbbbbbbbbbbbbb")
    users = loaded(tmp_path, api("", auth="{mode: password, users: {ada@example.org: aaaaaaaaaaaaaaaa}}"))
    assert isinstance(users.apis["shop", "order"].auth, PasswordAuth)


@pytest.mark.parametrize(
    ("text", "expected"), [("1 MiB", 1024**2), ("500kB", 500_000), ("7", 7), ("64 MiB", 64 * 1024**2)]
)
def test_sizes_have_units(text: str, expected: int) -> None:
    assert size(1, 64 * 1024**2)(text) == expected


@pytest.mark.parametrize("text", ["", "MiB", "1 mib", "-1", "1.5 MiB", "0", "1 TiB", "9" * 99, "\u0661 B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        size(1, 64 * 1024**2)(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("7d", 604800), ("10m", 600), ("30s", 30), ("2 h", 7200), ("1w", 604800)]
)
def test_durations_have_units(text: str, expected: int) -> None:
    assert duration(1, 10**9)(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-1s", "1.5h", "1y", "0s", "9" * 99 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        duration(1, 10**9)(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("TRUE", True),
        ("007", "007"),
        ("1_0", "1_0"),
        ("-", "-"),
    ],
)
def test_plain_scalars_of_free_values_follow_the_core_schema(text: str, expected: object) -> None:
    assert core(text) == expected
    assert type(core(text)) is type(expected)


def test_references_are_replaced_in_any_value_but_not_in_keys(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text("from-a-file-with-one-line-end\n\n")
    (tmp_path / "secrets/crlf").write_bytes(b"from-windows-with-one-line-end\r\n")
    text = api(
        """
        enabled: ${ENABLED}
        description: "${WHO} says $${WHO} and ${NOBODY:-a default} $WHO ${EMPTY:-also}"
        debug: {n: "${NUMBER}"}
    """,
        auth="{mode: token, tokens: {'${WHO}': '${LONG}', crlf: '${file:secrets/crlf}'}}",
    )
    environ = {
        "ENABLED": "true",
        "WHO": "Ada ${NOBODY}",
        "NUMBER": "1",
        "EMPTY": "",
        "LONG": "a-token-that-is-long-enough",
    }
    config = loaded(tmp_path, text, environ)
    order = config.apis["shop", "order"]
    assert isinstance(order.auth, TokenAuth)
    assert order.enabled is True
    assert order.description == "Ada ${NOBODY} says ${WHO} and a default $WHO also"
    assert order.debug == {"n": "1"}
    assert order.auth.tokens["${WHO}"].matches(b"a-token-that-is-long-enough")
    assert order.auth.tokens["crlf"].matches(b"from-windows-with-one-line-end")
    assert config.files[:2] == (tmp_path / "config.yaml", tmp_path / "secrets/crlf")


def test_the_digest_changes_with_all_that_was_read_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-that-is-long-enough")
    text = api("description: ${WHO:-}", auth="{mode: token, token: '${file:token}'}")
    first = loaded(tmp_path, text, {"WHO": "x"}).digest
    assert len(first) == 64
    assert loaded(tmp_path, text, {"WHO": "x", "OTHER": "y"}).digest == first
    others = {
        loaded(tmp_path, text, {"WHO": "y"}).digest,
        loaded(tmp_path, text, {}).digest,
        loaded(tmp_path, text + "#", {"WHO": "x"}).digest,
    }
    (tmp_path / "token").write_text("a-token-that-is-long-enough\n")
    others.add(loaded(tmp_path, text, {"WHO": "x"}).digest)
    assert len(others | {first}) == 5


def test_the_config_is_read_relative_to_the_working_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    config = load(Path("config.yaml"), {})
    assert (config.path, config.files[0]) == (Path("config.yaml"), tmp_path / "config.yaml")


def test_ten_thousand_apis_load(tmp_path: Path) -> None:
    fields = "input: {fields: {name: {type: string, max_length: 80}, n: {type: integer, min: 1}}}"
    apis = "".join(
        f"      a{n}: {{auth: {{mode: token, token: token-{n:012d}}}, workflow: hello, {fields}}}\n"
        for n in range(10_000)
    )
    config = loaded(tmp_path, f"workflows: {{hello: 'x.y:z'}}\nmodules:\n  m:\n    methods:\n{apis}")
    assert len(config.apis) == 10_000
    assert config.apis["m", "a9999"].line == 10_004


def test_a_failing_workflow_may_be_tried_again_after_growing_pauses(tmp_path: Path) -> None:
    text = (
        "workflows:\n"
        "  a: {python: 'x.y:z', retry: {attempts: 4, backoff: [1s, 1m]}}\n"
        "  b: {python: 'x.y:z', retry: {attempts: 2, backoff: 5s}}\n"
        "  c: {python: 'x.y:z', retry: {attempts: 2}}\n"
        "modules: {}\n"
    )
    workflows = loaded(tmp_path, text).workflows
    first = workflows["a"].retry
    assert first is not None
    assert [first.pause(failures) for failures in (1, 2, 3, 4)] == [1.0, 60.0, 60.0, None]
    assert workflows["b"].retry == Retry(2, (5.0,))
    assert workflows["c"].retry == Retry(2, (1.0,))


@pytest.mark.parametrize(
    "wrong", ["{backoff: 1s}", "{attempts: 1}", "{attempts: 2, backoff: []}", "{attempts: 2, backoff: [1s, soon]}", "3"]
)
def test_a_retry_that_makes_no_sense_is_a_mistake(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"workflows:\n  a: {{python: 'x.y:z', retry: {wrong}}}\nmodules: {{}}\n")
    assert all(mistake.key.startswith("workflows.a.retry") for mistake in refused.value.mistakes)


def test_how_often_and_how_long_may_be_set(tmp_path: Path) -> None:
    config = loaded(tmp_path, "idempotency: 1h\ncrashes: 2\nstop_grace: 0s\nworkers: 3\nmodules: {}\n")
    assert (config.idempotency, config.crashes, config.stop_grace, config.workers) == (3600.0, 2, 0.0, 3)
    assert loaded(tmp_path, "workers: auto\nmodules: {}\n").workers == len(os.sched_getaffinity(0))
