"""Files that are no config at all: one clear sentence with its place, whatever is in them (D1, D4, D5, D6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger.config import NoAuth, load
from trigger.errors import ConfigError

from .editors import errors
from .writing import MINIMAL, api, loaded, mistake, mistakes, write

BOMB = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8))
    + "modules: {}\n"
)
MERGE_BOMB = (
    "a: &a {k0: 1, k1: 1, k2: 1, k3: 1}\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} {{{', '.join(f'n{n}: {{<<: *{chr(97 + i)}}}' for n in range(9))}}}\n"
        for i in range(7)
    )
    + "modules: {}\n"
)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "empty"),
        ("# nothing\n", 1, 1, "empty"),
        ("- a\n- b\n", 1, 1, "must be a mapping"),
        ("hello\n", 1, 1, "must be a mapping"),
        ("modules: {}\n---\nmodules: {}\n", 2, 1, "second YAML document"),
        ("modules:\n\tshop: 1\n", 2, 1, "indented with a tab"),
        ("modules:\n  shop: a: b\n", 2, 10, "quote a text that holds ': '"),
        ("modules: {}\nredis: 'x\n", 3, 1, "unexpected end of stream"),
        ("modules: {}\nredis: *nobody\n", 2, 8, "quote a text that begins with '*'"),
        ("modules: {}\nredis: %x\n", 2, 8, "special character"),
        ("modules: {}\nserver: {prefix: ${X}}\n", 2, 19, "a reference must be quoted"),
        ("modules: " + "[" * 5000 + "]" * 5000, 1, 73, "nested deeper than 64"),
        ("modules: " + "{a: " * 5000 + "}" * 5000, 1, 262, "nested deeper than 64"),
        ("- " * 5000 + "a", 1, 129, "nested deeper than 64"),
        ("modules: {}\n# caf\u00e9\n".encode("latin-1"), 2, 6, "not UTF-8"),
        ("modules: {}\n".encode("utf-16"), 1, 1, "not UTF-8"),
        ("modules: {}\nredis: \0\n", 2, 8, "U+0000"),
        ('modules: {}\nredis: "\\ud800"\n', 2, 11, "invalid Unicode character escape"),
        ("modules: {}\n\ufeffredis: x\n", 2, 1, "U+FEFF"),
    ],
)
def test_what_is_no_config_is_told_in_one_sentence_with_its_place(
    tmp_path: Path, text: str | bytes, line: int, column: int, message: str
) -> None:
    found = mistake(tmp_path, text)
    assert (found.line, found.column) == (line, column)
    assert message in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("modules: {}\nredis: a\nredis: b\n", 3, "redis", "given twice; the first is at line 2"),
        ("modules: {}\nserver: !!python/object:os.system {}\n", 2, "server", "tags are not allowed"),
        ("modules: {}\nserver: !foo {}\n", 2, "server", "tags are not allowed"),
        ("modules: {}\nkeep: ! 12\n", 2, "keep", "tags are not allowed"),
        ("modules: {}\nkeep: &a ! 12\n", 2, "keep", "tags are not allowed"),
        ("modules: {}\nkeep: !<!> 12\n", 2, "keep", "tags are not allowed"),
        ("modules: {}\nserver: { ?prefix: /x }\n", 2, "server", "begins with ? must be quoted"),
        ("modules: &a [*a]\n", 1, "modules.0", "contains itself"),
        ("modules: &a {x: *a}\n", 1, "modules.x", "contains itself"),
        ("modules: {<<: 3}\n", 1, "modules.'<<'", "can be merged"),
    ],
)
def test_what_no_config_needs_is_refused(tmp_path: Path, text: str, line: int, key: str, message: str) -> None:
    found = [one for one in mistakes(tmp_path, text) if message in one.message]
    assert [(one.line, one.key) for one in found] == [(line, key)]


def test_the_same_api_declared_twice_is_refused_at_the_second(tmp_path: Path) -> None:
    again = "      order:\n        auth: {mode: none}\n        workflow: hello\n"
    found = mistake(tmp_path, MINIMAL + again)
    assert (found.line, found.column, found.key) == (10, 7, "modules.shop.methods.order")


def test_what_only_looks_like_a_lenient_reading_is_taken_as_it_is(tmp_path: Path) -> None:
    keys = "description: wow ! x? [?]\nenabled: true\nverbs: [\n'GET', ? \nPOST ]\n".replace("? \nPOST", "POST")
    (only,) = loaded(tmp_path, api(keys)).apis.values()
    assert only.description == "wow ! x? [?]"
    assert (
        loaded(tmp_path, "modules: {?\n m: {description: '?x'}}\nx-a: {'?b': '! c'}\n").modules["m"].description == "?x"
    )


def test_keys_that_begin_with_x_hold_what_is_used_elsewhere(tmp_path: Path) -> None:
    """found.md 23: a place for anchors, of which nothing else is read."""
    text = "x-login: &login {mode: none}\nx-more: [anything, {enabled: yes}]\n" + MINIMAL.replace(
        "{mode: none}", "*login"
    )
    (only,) = loaded(tmp_path, text).apis.values()
    assert isinstance(only.auth, NoAuth)
    assert errors(text) == []
    assert "did you mean" in mistake(tmp_path, MINIMAL + "modules-x: {}\n").message


def test_a_mistake_is_one_line_whatever_it_repeats_of_the_file(tmp_path: Path) -> None:
    """found.md 23: a step named with a line end broke the line of its mistake, also where others name it."""
    text = """\
workflows:
  w:
    steps:
      - {name: "a\\nb\\e[31m", run: [x]}
      - {name: c, run: [echo, "{{ steps.nope.output }}"], needs: ["a\\nb\\e[31m", d]}
modules: {m: {methods: {n: {auth: {mode: none}, workflow: "w\\nx", "ver\\nbs": []}}}}
"""
    for one in mistakes(tmp_path, text):
        assert str(one).isprintable()
    assert any("a\\nb" in str(one) for one in mistakes(tmp_path, text))


def test_keys_that_are_not_text_are_refused(tmp_path: Path) -> None:
    assert [one.message for one in mistakes(tmp_path, "modules: {[a]: 1, ? {b: c} : 2}\n")] == [
        "a key must be plain text"
    ] * 2


@pytest.mark.parametrize("text", [BOMB, MERGE_BOMB])
def test_aliases_that_explode_are_refused(tmp_path: Path, text: str) -> None:
    assert "aliases make this file more than" in mistakes(tmp_path, text)[-1].message


def test_a_deep_chain_of_aliases_is_refused(tmp_path: Path) -> None:
    chain = "".join(f"k{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(100))
    assert "nested deeper" in mistakes(tmp_path, f"k0: &a0 [x]\n{chain}")[-1].message


def test_anchors_aliases_and_merges_work_where_they_stay_small(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """\
workflows: {hello: 'examples.hello:greet'}
modules:
  shop:
    methods:
      one: &one
        enabled: true
        auth: {mode: none}
        workflow: hello
        verbs: &verbs [GET]
      two:
        <<: *one
        enabled: false
      three: {auth: {mode: none}, workflow: hello, verbs: *verbs}
""",
    )
    two, three = config.apis["shop", "two"], config.apis["shop", "three"]
    assert (two.enabled, two.verbs, three.verbs) == (False, ("GET",), ("GET",))


def test_a_bom_at_the_start_is_passed_over(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode()).apis


def test_lines_are_counted_with_crlf_and_characters_beyond_ascii(tmp_path: Path) -> None:
    text = MINIMAL.replace("modules:", "# \U0001f600\nmodules:").replace("workflow:", "'\u00e9': x\n        workflow:")
    found = mistake(tmp_path, text.replace("\n", "\r\n"))
    assert (found.line, found.column) == (10, 9)


def test_a_file_that_is_missing_or_a_folder_or_too_large_is_told(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.yaml", "does not exist"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError, match=message) as caught:
            load(path, {})
        assert caught.value.mistakes[0].file == str(path)
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 32768 KiB"):
        load(path, {})


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="ab:-[]{}&*!'\"#|>%@${}\t\n <?,.0", max_size=80)))
def test_any_bytes_load_or_are_refused_as_a_config(tmp_path: Path, content: bytes | str) -> None:
    path = write(tmp_path, content)
    try:
        load(path, {})
    except ConfigError as error:
        found = error.mistakes
    else:
        return
    assert found
    assert all(one.line >= 1 and one.column >= 1 for one in found)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    position=st.integers(0, 600),
    cut=st.integers(0, 30),
    piece=st.text(alphabet="ab:-[]{}&*!'\"#|\t\n ${}0", max_size=8),
)
def test_a_config_with_any_piece_replaced_loads_or_is_refused(
    tmp_path: Path, position: int, cut: int, piece: str
) -> None:
    whole = api(
        """
        description: x
        input:
          fields:
            name: {type: string, default: a, enum: [a, b], max_length: 80}
            n: {type: list, of: {type: integer, min: 1}}
        debug: {name: Ada, n: [1, 2.5, null]}
    """,
        auth="{mode: password, users: {ada: '${P:-aaaaaaaaaaaaaaaaaaaa}'}}",
    )
    path = write(tmp_path, whole[:position] + piece + whole[position + cut :])
    try:
        load(path, {})
    except ConfigError as error:
        found = error.mistakes
    else:
        return
    assert found
    assert all(1 <= one.line <= whole.count("\n") + piece.count("\n") + 2 for one in found)
