"""Reading a body within bounds, and choosing its parser by Content-Type."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import IterUnreader
from hypothesis import given
from hypothesis import strategies as st

from trigger.errors import BadRequest, BodyTooLarge, InvalidParams, RequestError, UnsupportedMediaType
from trigger.inputs import Form, parse_body, read_body
from trigger.inputs.forms import Upload

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class BrokenStream:
    """A client's connection on which reading fails, as sockets do."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def read(self, _size: int, /) -> bytes:
        raise self.error


class CountingStream(io.BytesIO):
    """Counts the bytes that were asked for, and gives them in small pieces, as a slow network would."""

    asked = 0
    given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0, "an unbounded read"
        self.asked = max(self.asked, self.given + size)
        piece = super().read(min(size, 3))
        self.given += len(piece)
        return piece


def chunked(*received: bytes) -> Any:
    """wsgi.input as gunicorn makes it for a chunked body of which these bytes are received."""
    return Body(ChunkedReader(SimpleNamespace(), IterUnreader(iter(received))))


def test_a_body_of_the_declared_length_is_read_whole_and_no_further() -> None:
    stream = CountingStream(b"0123456789next request")
    assert read_body(stream, 10, 100) == b"0123456789"
    assert stream.asked == 10


def test_a_body_without_a_length_is_read_to_its_end() -> None:
    assert read_body(CountingStream(b"0123456789"), None, 10) == b"0123456789"


def test_a_declared_length_of_zero_reads_nothing() -> None:
    stream = CountingStream(b"next request")
    assert read_body(stream, 0, 100) == b""
    assert stream.asked == 0


def test_b1_a_body_that_declares_too_much_is_refused_unread() -> None:
    stream = CountingStream(b"x" * 11)
    with pytest.raises(BodyTooLarge, match="larger than 10 bytes"):
        read_body(stream, 11, 10)
    assert stream.asked == 0


def test_b2_a_chunked_body_over_the_limit_is_refused_after_one_byte_too_many() -> None:
    stream = CountingStream(b"x" * 1000)
    with pytest.raises(BodyTooLarge):
        read_body(stream, None, 10)
    assert stream.asked == 11


def test_b2_gunicorns_chunked_body_is_read_up_to_the_limit_and_refused_over_it() -> None:
    assert read_body(chunked(b"5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n"), None, 10) == b"abcdefghij"
    with pytest.raises(BodyTooLarge):
        read_body(chunked(b"5\r\nabcde\r\n6\r\nfghijk\r\n0\r\n\r\n"), None, 10)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"zz\r\nabc\r\n0\r\n\r\n", id="bad size"),
        pytest.param(b"-3\r\nabc\r\n0\r\n\r\n", id="negative size"),
        pytest.param(b"3;=\r\nabc\r\n0\r\n\r\n", id="bad extension"),
        pytest.param(b"5\r\nabcXX0\r\n\r\n", id="bad terminator"),
        pytest.param(b"5\r\nab", id="truncated chunk"),
        pytest.param(b"3\r\nabc\r\n0\r\n", id="truncated end"),
    ],
)
def test_b3_a_malformed_chunked_body_is_a_bad_request(received: bytes) -> None:
    with pytest.raises(BadRequest, match="could not be read") as caught:
        read_body(chunked(received), None, 100, stream_errors=(ParseException,))
    assert caught.value.status == 400


def test_b3_a_connection_that_breaks_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="broke off") as caught:
        read_body(BrokenStream(ConnectionResetError("[Errno 104] secret detail")), None, 100)
    assert caught.value.status == 400
    assert "secret" not in caught.value.message


def test_b4_a_client_that_is_silent_for_too_long_is_told_408() -> None:
    with pytest.raises(BadRequest, match="in time") as caught:
        read_body(BrokenStream(TimeoutError("timed out")), 5, 100)
    assert caught.value.status == 408


def test_b4_a_body_shorter_than_declared_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="ended early: Content-Length says 10 bytes, 4 came") as caught:
        read_body(CountingStream(b"0123"), 10, 100)
    assert caught.value.status == 400


@pytest.mark.parametrize("encoding", ["deflate", "br", "x-unknown", "identity, gzip", "gzip, gzip"])
@pytest.mark.parametrize("body", [b"", b"{}", b"\x1f\x8b\x08\x00"])
def test_b7_an_encoded_body_is_refused_and_never_inflated(encoding: str, body: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding") as caught:
        parse_body(body, JSON, encoding)
    assert caught.value.headers == {"Accept-Encoding": "gzip, identity"}


def test_b7_the_encoding_identity_is_no_encoding() -> None:
    assert parse_body(b'{"a":1}', JSON, "Identity") == {"a": 1}


@pytest.mark.parametrize("begin", ["", " ", "\r\n\t "])
@pytest.mark.parametrize(
    ("body", "value"), [("{}", {}), ('{"a": "b=c&d"}', {"a": "b=c&d"}), ("[1]", [1]), ('"x"', "x")]
)
def test_c1_a_body_labelled_a_form_that_begins_as_json_is_json(begin: str, body: str, value: object) -> None:
    assert parse_body((begin + body).encode(), FORM, "") == value


def test_c1_broken_json_labelled_a_form_is_told_where_it_breaks() -> None:
    with pytest.raises(InvalidParams, match="line 1, column 6"):
        parse_body(b'{"a":}', FORM, "")


def test_c1_any_other_body_labelled_a_form_is_form_fields() -> None:
    made = parse_body(b"name=Ada&n=5", FORM, "")
    assert made == {"name": "Ada", "n": "5"}
    assert isinstance(made, Form)


def test_c2_without_a_content_type_the_body_is_json() -> None:
    assert parse_body(b'{"a":1}', "", "") == {"a": 1}
    with pytest.raises(InvalidParams, match="not valid JSON"):
        parse_body(b"a=1", "", "")


@pytest.mark.parametrize(
    "content_type",
    ["", JSON, "application/vnd.x+json", FORM, "multipart/form-data", "text/plain", "nonsense", f"{JSON}; charset=x"],
)
def test_c2_an_empty_body_is_an_empty_object_whatever_its_type(content_type: str) -> None:
    """found.md 33"""
    assert parse_body(b"", content_type, "") == {}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plainer",
        "text/json",
        "application/xml",
        "application/jsonp",
        "application/x+jsonx",
        "application/+json",
        "application/json/x",
        "application/json, text/plain",
        "*/*",
        "json",
        ";",
        "\x00",
        "application/json\xa0",
        "\x85application/json",
        "application/json\xa0; charset=utf-8",
        "application/json; charset=utf-8\xa0",
    ],
)
@pytest.mark.parametrize("body", [b"a", b"{}"])
def test_c2b_any_other_content_type_is_refused_naming_what_is_accepted(content_type: str, body: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="application/json, application/x-www-form-urlencoded, multipart/"):
        parse_body(body, content_type, "")


@pytest.mark.parametrize("encoding", ["gzip\xa0", "identity\xa0", "\x85", "\xa0"])
def test_any_content_encoding_but_gzip_and_identity_is_refused(encoding: str) -> None:
    """found.md 32: bytes that are white space in latin-1 belong to the value."""
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        parse_body(b"{}", JSON, encoding)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/vnd.x+json",
        "application/Problem+JSON; charset=utf8",
        "application/json; charset=US-ASCII",
        "application/json; charset=ascii",
        "application/json; profile=x",
    ],
)
def test_c3_json_types_are_known_in_any_case_and_with_parameters(content_type: str) -> None:
    assert parse_body('{"a":"ä"}'.encode(), content_type, "") == {"a": "ä"}


@pytest.mark.parametrize("media_type", [JSON, FORM, "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "klingon", ""])
def test_c3_other_charsets_are_refused(media_type: str, charset: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="UTF-8"):
        parse_body(b"{}", f'{media_type}; charset="{charset}"', "")


def test_c3_a_form_may_say_that_it_is_ascii() -> None:
    """found.md 33"""
    assert parse_body(b"a=%C3%A4", f"{FORM}; charset=us-ascii", "") == {"a": "ä"}


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252", "latin1"])
def test_what_old_clients_send_is_read_in_their_charset(charset: str) -> None:
    assert parse_body(b'{"a": "\xe4"}', f"{JSON}; charset={charset}", "") == {"a": "ä"}
    assert parse_body(b'{"a": "\xe4"}', f"text/plain; charset={charset}", "") == {"a": "ä"}
    assert parse_body(b"a=%E4", f"{FORM}; charset={charset}", "") == {"a": "ä"}
    assert parse_body(b"\xe4", f"text/plain; charset={charset}", "", kind="text") == "ä"
    assert parse_body(b"<a>\xe4</a>", f"text/xml; charset={charset}", "", kind="xml") == {"a": "ä"}
    with pytest.raises(UnsupportedMediaType, match="parts"):
        parse_body(b"--b--", f"multipart/form-data; boundary=b; charset={charset}", "")


@pytest.mark.parametrize("body", [b'{"a": 1}', b' \r\n{"a": 1}'])
def test_json_labelled_a_text_is_json(body: bytes) -> None:
    assert parse_body(body, "text/plain; charset=UTF-8", "") == {"a": 1}
    with pytest.raises(UnsupportedMediaType):
        parse_body(b"a text", "text/plain", "")


def test_each_line_of_ndjson_is_a_value() -> None:
    for kind, content_type in (("auto", "application/x-ndjson"), ("lines", "anything")):
        assert parse_body(b'{"a":1}\r\n\n[2]\n', content_type, "", kind=kind) == [{"a": 1}, [2]]  # type: ignore[arg-type]
    with pytest.raises(InvalidParams, match="Line 2 of the body is not valid JSON: line 1, column 2"):
        parse_body(b"{}\n{,}\n", "", "", kind="lines")


def test_lines_are_not_without_number() -> None:
    assert len(parse_body(b"1\n" * 10_000, "", "", kind="lines")) == 10_000
    with pytest.raises(BodyTooLarge, match="10,000 lines"):
        parse_body(b"1\n" * 10_001, "application/x-ndjson", "")


def test_gzip_is_unpacked_within_the_limit() -> None:
    packed = gzip.compress(b'{"a": 1}')
    assert parse_body(packed, JSON, "gzip") == parse_body(packed, JSON, "X-GZIP") == {"a": 1}
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    with pytest.raises(BodyTooLarge, match="1,000 bytes when it is unpacked"):
        parse_body(bomb, JSON, "gzip", limit=1000)
    assert parse_body(gzip.compress(b"1" * 10), JSON, "gzip", limit=10) == 1111111111
    for broken in (packed[:-1], packed[:5], packed + b"x", packed + packed, b"{}", packed[:-5] + b"00000"):
        with pytest.raises(InvalidParams, match="not valid gzip"):
            parse_body(broken, JSON, "gzip")


def test_a_text_is_a_text_and_raw_is_all_of_it() -> None:
    assert parse_body(b"", "", "", kind="text") == ""
    assert parse_body("ä{".encode(), JSON, "", kind="text") == "ä{"
    with pytest.raises(InvalidParams, match="not text in utf-8"):
        parse_body(b"\xff", "", "", kind="text")
    assert parse_body(b"\x00\xff", "image/x", "", kind="raw") == {"base64": "AP8=", "type": "image/x"}
    assert parse_body(b"", "", "", kind="raw") == {"base64": "", "type": ""}


def test_json_whatever_it_is_labelled() -> None:
    for content_type in ("", "application/octet-stream", "text/plain", FORM, "\xff"):
        assert parse_body(b'{"a": 1}', content_type, "", kind="json") == {"a": 1}
        assert parse_body(b"", content_type, "", kind="json") == {}
        with pytest.raises(InvalidParams):
            parse_body(b"a=1", content_type, "", kind="json")


def test_a_forms_only_field_payload_is_json() -> None:
    """As GitHub sends it if it is not told otherwise, and Slack always."""
    body = b"payload=" + quote('{"ref": "refs/heads/main"}').encode()
    assert parse_body(body, FORM, "", kind="form") == {"ref": "refs/heads/main"}
    assert parse_body(body, FORM, "") == {"payload": '{"ref": "refs/heads/main"}'}
    assert parse_body(body + b"&a=1", FORM, "", kind="form") == {"payload": '{"ref": "refs/heads/main"}', "a": "1"}
    assert parse_body(b"payload=x", FORM, "", kind="form") == {"payload": "x"}
    with pytest.raises(InvalidParams, match="The field payload is not valid JSON"):
        parse_body(b"payload={", FORM, "", kind="form")
    with pytest.raises(UnsupportedMediaType):
        parse_body(b"{}", JSON, "", kind="form")


def test_files_of_a_form_are_given_apart() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name=payload\r\n\r\n{"event": "play"}\r\n'
        b'--b\r\nContent-Disposition: form-data; name=thumb; filename="../../a\\x00.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--b--\r\n"
    )
    uploads: list[Upload] = []
    assert parse_body(body, "multipart/form-data; boundary=b", "", kind="form", uploads=uploads) == {"event": "play"}
    assert [(one.field, one.content_type, one.content) for one in uploads] == [("thumb", "image/jpeg", b"\xff\xd8")]
    with pytest.raises(UnsupportedMediaType, match="Files are not accepted"):
        parse_body(body, "multipart/form-data; boundary=b", "", kind="form")


def bodies() -> Iterator[bytes]:
    yield from (b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", b"a=1&b=%zz", b'{"a":', b"--b--")


@given(
    st.one_of(st.binary(), st.sampled_from(list(bodies())), st.binary().map(lambda data: b"--b\r\n" + data + b"--b--")),
    st.one_of(st.text(), st.sampled_from([JSON, FORM, "multipart/form-data; boundary=b"])),
    st.sampled_from(["", "identity", "gzip"]),
)
def test_whatever_is_sent_is_parsed_or_refused(body: bytes, content_type: str, encoding: str) -> None:
    try:
        parse_body(body, content_type, encoding)
    except RequestError as refusal:
        status = refusal.status
    else:
        status = 202
    assert status in (202, 400, 413, 415)
