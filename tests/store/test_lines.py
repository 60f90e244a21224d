"""How output becomes the lines of a log, however it was written."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger.store.lines import MAX_LINE, MORE, Secrets, Splitter, shown

SECRET = "canary-4711"

# Bytes that hold ends of lines, secrets and broken UTF-8 often enough.
pieces = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"ab", SECRET.encode(), b"\xff", "ü€".encode(), b"x" * 40_000])
    | st.binary(max_size=20),
    max_size=40,
).map(b"".join)


def lines_of(*writes: bytes, secrets: Secrets | None = None) -> list[str]:
    """What the log shows of these writes."""
    secrets = secrets or Secrets([SECRET])
    splitter = Splitter(secrets)
    lines = [line for data in writes for line in splitter.feed(data)] + splitter.close()
    return [text for group in shown(lines, secrets) for text in group] if lines else []


@given(pieces, st.lists(st.integers(0, 100_000), max_size=10))
def test_how_output_was_cut_into_writes_does_not_matter(data: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    writes = [data[start:end] for start, end in pairwise(bounds)]
    joined = "\n".join(lines_of(*writes)).replace(MORE + "\n", "")
    assert joined == "\n".join(lines_of(data)).replace(MORE + "\n", "")
    assert SECRET not in joined


@given(pieces)
def test_every_line_is_short_and_steers_no_terminal(data: bytes) -> None:
    for line in lines_of(data):
        assert len(line.encode()) <= MAX_LINE
        kinds = {unicodedata.category(character) for character in line.replace("\t", "")}
        directions = {unicodedata.bidirectional(character) for character in line}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
        assert not directions & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("written", "shown_as"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),
        (b"\n\n", ["", ""]),
        (b"dos\r\nunix\n", ["dos", "unix"]),
        (b"", []),
        (b"\x1b[31mred\x1b[0m\ta\x00\n", [r"\x1b[31mred\x1b[0m" + "\ta" + r"\x00"]),
        (b"10%\r20%\n", [r"10%\r20%"]),
        (b"\xff\xfe caf\xc3\xa9 \xc3\n", ["�� café �"]),
        ("left\u202eright \u2028 \U0001f600\n".encode(), ["left\\u202eright \\u2028 \U0001f600"]),
    ],
)
def test_a_line_is_shown_as_text(written: bytes, shown_as: list[str]) -> None:
    assert lines_of(written) == shown_as


def test_a_long_line_is_shown_in_parts() -> None:
    text = "äx" * 100_000
    lines = lines_of(text.encode(), b"\nnext\n")
    assert lines[-1] == "next"
    assert all(line.endswith(MORE) for line in lines[:-2])
    assert "".join(line.removesuffix(MORE) for line in lines[:-1]) == text


def test_a_line_that_never_ends_takes_no_memory() -> None:
    splitter = Splitter(Secrets([SECRET]))
    for _ in range(1000):
        splitter.feed(b"x" * 10_000)
        assert len(splitter._rest) < 100_000


def test_a_secret_is_masked_wherever_writes_and_parts_of_a_line_cut_it() -> None:
    for at in range(len(SECRET) + 1):
        secret = SECRET.encode()
        assert lines_of(b"a " + secret[:at], secret[at:] + b" z\n") == ["a *** z"]
    for before in range(64 * 1024 - 30, 64 * 1024 + 30):
        data = b"x" * before + SECRET.encode() + b"y" * 100_000
        assert "4711" not in "".join(lines_of(*[data[i : i + 4096] for i in range(0, len(data), 4096)]))


def test_of_a_secret_with_several_lines_each_is_masked() -> None:
    secrets = Secrets(["-----BEGIN KEY-----\r\nMIIEvQ\r\nab\r\n-----END KEY-----\n"])
    assert lines_of(b"key: -----BEGIN KEY-----\nMIIEvQ\nab\n", secrets=secrets) == ["key: ***", "***", "ab"]


def test_a_secret_that_holds_another_is_masked_whole() -> None:
    assert lines_of(b"pass password-1 word\n", secrets=Secrets(["pass", "password-1"])) == ["*** *** word"]
