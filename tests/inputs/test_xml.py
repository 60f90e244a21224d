"""XML as a mapping."""

from __future__ import annotations

from typing import Any

import pytest

from trigger.errors import InvalidParams
from trigger.inputs.xml import parse_xml
from trigger.strict_json import MAX_DEPTH


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<a/>", {"a": None}),
        ("<a>x</a>", {"a": "x"}),
        ("<a> <b>1</b>\n<b/><b>3</b> </a>", {"a": {"b": ["1", None, "3"]}}),
        (
            '<?xml version="1.0" encoding="UTF-8"?><a x="1">t<!-- c --><b><![CDATA[<&]]></b>u</a>',
            {"a": {"@x": "1", "b": "<&", "#text": "tu"}},
        ),
        (
            '<soap:Envelope xmlns:soap="urn:x"><soap:Body/></soap:Envelope>',
            {"soap:Envelope": {"@xmlns:soap": "urn:x", "soap:Body": None}},
        ),
        ("<a>&lt;&amp;&#228;</a>", {"a": "<&ä"}),
    ],
)
def test_elements_attributes_and_text(text: str, value: Any) -> None:
    assert parse_xml(text.encode()) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings_that_the_text_names(encoding: str) -> None:
    assert parse_xml(f'<?xml version="1.0" encoding="{encoding}"?><a>ä</a>'.encode(encoding)) == {"a": "ä"}


BOMB = "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;&b;&b;'>]><a>&c;</a>"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BOMB.encode(), "DTD"),
        (b"<!DOCTYPE a><a/>", "DTD"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "DTD"),
        (b"<a>&b;</a>", "undefined entity"),
        (b"<a>" * 100_000, "nested too deep"),
        (b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1), "nested too deep"),
        (b"<a><b></a>", "mismatched tag"),
        (b"<a/><b/>", "junk after document element"),
        (b"{}", "not well-formed"),
        (b"", "no element found"),
        (b"<a>\xff</a>", "not well-formed"),
        (b"<a>\x00</a>", "not well-formed"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "encoding"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "encoding"),
        (b'<?xml version="1.0" encoding="shift_jis"?><a/>', "encoding"),
        (b'<?xml version="1.0" encoding="base64"?><a/>', "encoding"),
        (b"<a x='1' x='2'/>", "duplicate attribute"),
        (b"<a>" + b"<b/>" * 10_000 + b"</a>", "more than 10,000 elements"),
    ],
)
def test_everything_else_is_refused_with_the_place(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidParams, match=rf"not valid XML: line \d+, column \d+: .*{reason}"):
        parse_xml(body)


def test_as_deep_as_json_may_be() -> None:
    assert parse_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
