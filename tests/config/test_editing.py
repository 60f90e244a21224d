"""Switching an API on and off in the file: that one value changes and nothing else does."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger.config import load, set_enabled
from trigger.errors import ConfigError, UsageError

from .writing import MINIMAL, write

ROOT = Path(__file__).resolve().parents[2]


def within(method: str) -> str:
    """A config whose API shop/order is `method`, the text after "order:"."""
    return f"workflows: {{hello: 'x.y:z'}}  # w\nmodules:\n  shop:\n    methods:\n      order:{method}\n# the end"


BLOCK = "\n        # first\n        auth: {mode: none}   # who\n        workflow: hello\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (within(BLOCK + "        enabled: false  # why\n"), within(BLOCK + "        enabled: true  # why\n")),
        (within(BLOCK + "        enabled: 'false'\n"), within(BLOCK + "        enabled: 'true'\n")),
        (within(BLOCK + '        "enabled": "false" # x\n'), within(BLOCK + '        "enabled": "true" # x\n')),
        (within(BLOCK + "        enabled:\n          false\n"), within(BLOCK + "        enabled:\n          true\n")),
        (within(BLOCK + "        enabled: off\n"), within(BLOCK + "        enabled: true\n")),
        (within(BLOCK), within(BLOCK.replace("auth:", "enabled: true\n        auth:"))),
        (
            within(" {auth: {mode: none}, workflow: hello}"),
            within(" {enabled: true, auth: {mode: none}, workflow: hello}"),
        ),
        (within(" {auth: {mode: none}, enabled: false}"), within(" {auth: {mode: none}, enabled: true}")),
        (within(" {\n  auth: {mode: none}}"), within(" {\n  enabled: true, auth: {mode: none}}")),
        (within(" {}"), within(" {enabled: true}")),
        (within(" &a {}"), within(" &a {enabled: true}")),
        (
            within(BLOCK.replace("\n", "\r\n")),
            within(BLOCK.replace("auth:", "enabled: true\n        auth:").replace("\n", "\r\n")),
        ),
        (
            "\ufeff# \U0001f600\n" + within(BLOCK),
            "\ufeff# \U0001f600\n" + within(BLOCK.replace("auth:", "enabled: true\n        auth:")),
        ),
    ],
)
def test_only_that_value_changes(tmp_path: Path, before: str, after: str) -> None:
    path = write(tmp_path, before)
    assert set_enabled(path, "shop", "order", True)
    assert path.read_bytes().decode() == after
    assert not set_enabled(path, "shop", "order", True)
    assert path.read_bytes().decode() == after


def test_an_api_that_does_not_say_enabled_is_off_already(tmp_path: Path) -> None:
    path = write(tmp_path, within(BLOCK))
    assert not set_enabled(path, "shop", "order", False)
    assert path.read_text() == within(BLOCK)


def test_a_value_that_a_merge_brings_is_overruled_in_the_api_itself(tmp_path: Path) -> None:
    text = "modules:\n  m:\n    methods:\n      a: &a\n        enabled: true\n      b:\n        <<: *a\n"
    path = write(tmp_path, text)
    assert set_enabled(path, "m", "b", False)
    assert path.read_text() == text.replace("        <<", "        enabled: false\n        <<")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modules: {m: {methods: {a: &a {enabled: true}, b: *a}}}", "alias"),
        ("modules: {m: {methods: {a: {enabled: &on true}, b: {enabled: *on}}}}", "alias"),
        ("modules: {m: {methods: {b: {enabled: '${ON}'}}}}", "from outside the file"),
        ("modules: {m: {methods: {b: {enabled: }}}}", "not plainly"),
        ("modules: {m: {methods: {b: {enabled: &x true}}}}", "not plainly"),
        ("modules: {m: {methods: {b: {enabled: [true]}}}}", "is not true or false"),
        ("modules: {m: {methods: {b: 3}}}", "is not a mapping"),
        ("modules: {m: {methods: &all {b: {enabled: true}}}, n: {methods: *all}}", "can't be changed alone"),
        ("modules: {m: {methods: {b: {}, b: {}}}}", "given twice"),
        ("modules: {m: {methods: {b: !x {}}}}", "tags"),
        ("modules: [", "not valid YAML"),
    ],
)
def test_what_can_not_be_changed_alone_is_left_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        set_enabled(path, "m", "b", False)
    assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_an_unknown_api_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    with pytest.raises(UsageError, match="there is no API 'shop/oder'; did you mean 'shop/order'"):
        set_enabled(path, "shop", "oder", True)
    with pytest.raises(UsageError, match="has shop/order"):
        set_enabled(path, "x", "y", True)


def test_a_file_that_is_missing_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        set_enabled(tmp_path / "none.yaml", "shop", "order", True)
    with pytest.raises(UsageError, match="can't be written"):
        set_enabled(tmp_path, "shop", "order", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    path.chmod(0o400)
    with pytest.raises(UsageError, match="can't be written"):
        set_enabled(path, "shop", "order", False)


def test_mode_and_link_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = write(tmp_path / "real", MINIMAL)
    path.chmod(0o640)
    link = tmp_path / "config.yaml"
    link.symlink_to("real/config.yaml")
    assert set_enabled(link, "shop", "order", False)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o7777 == 0o640
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]
    assert not load(link, {}).apis["shop", "order"].enabled


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    os.chown(path, 1234, 1234)
    assert set_enabled(path, "shop", "order", False)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)


def test_the_shipped_draft_can_be_enabled(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text()
    path = write(tmp_path, text)
    assert set_enabled(path, "iolinker", "draft", True)
    assert path.read_text() == text.replace("enabled: false", "enabled: true")
    assert set_enabled(path, "iolinker", "draft", False)
    assert path.read_text() == text


_comment = st.text(alphabet="abc #:{}'\"\u00e9\U0001f600", max_size=12).map(lambda text: f"  # {text}")
_line = st.sampled_from(
    ["description: 'a: b'", "workflow: hello", "auth: {mode: none}", "verbs: [GET]", 'debug: {"a": [1, x]}']
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    keys=st.lists(st.tuples(_line, _comment), min_size=1, max_size=5, unique_by=lambda pair: pair[0]),
    indent=st.integers(1, 9),
    newline=st.sampled_from(["\n", "\r\n"]),
    present=st.booleans(),
    at=st.integers(0, 5),
)
def test_all_other_bytes_stay_whatever_the_layout(
    tmp_path: Path, keys: list[tuple[str, str]], indent: int, newline: str, present: bool, at: int
) -> None:
    lines = [key + comment for key, comment in keys]
    if present:
        lines.insert(at, "enabled: false  # mark")
    body = textwrap.indent("\n".join(["# above", *lines]), " " * (4 + indent))
    text = f"# top\nmodules:\n  m:\n   methods:\n    a:  # here\n{body}\n    z: {{}}\n".replace("\n", newline)
    path = write(tmp_path, text)
    assert set_enabled(path, "m", "a", True)
    edited = path.read_bytes().decode()
    if present:
        assert edited == text.replace("enabled: false", "enabled: true", 1)
    else:
        added = f"enabled: true{newline}{' ' * (4 + indent)}"
        assert edited.replace(added, "", 1) == text
        assert edited.index(added) == text.index(lines[0])
