"""The vectors that senders publish, and their own libraries as independent signers."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe
from slack_sdk.signature import SignatureVerifier

from trigger.signatures import SCHEMES, Scheme, SignatureMissing, SignatureWrong, sign, verify

# docs.slack.dev
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
    b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
    b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
    b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
VECTORS = {
    # docs.github.com
    "github": (
        "It's a Secret to Everybody",
        b"Hello, World!",
        {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        0,
    ),
    "slack": (
        "8f742231b10e8888abcd99yyyzzz85a5",
        SLACK_BODY,
        {
            "X-Slack-Request-Timestamp": "1531420618",
            "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
        1531420618,
    ),
    # the specification of Standard Webhooks
    "standard": (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        b'{"event_type":"ping","data":{"success":true}}',
        {
            "webhook-id": "msg_loFOjxBNrRLzqYUf",
            "webhook-timestamp": "1731705121",
            "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        },
        1731705121,
    ),
}
KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
BODY = b'{"id": "evt_1", "event_id": "Ev1", "sku": "A1"}'
NOW = 1_764_000_000.0


def of(headers: dict[str, str]) -> Callable[[str], bytes | None]:
    small = {name.lower(): value.encode("latin-1") for name, value in headers.items()}
    return lambda name: small.get(name.lower())


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name: str) -> None:
    secret, body, headers, now = VECTORS[name]
    scheme = SCHEMES[name]
    secrets = {"other": KEY, "theirs": secret}
    assert verify(scheme, secrets, of(headers), body, now=now, tolerance=300).name == "theirs"
    for wrong in (body + b" ", body[1:], b""):
        with pytest.raises(SignatureWrong, match="no secret matches"):
            verify(scheme, secrets, of(headers), wrong, now=now, tolerance=300)
    with pytest.raises(SignatureWrong, match="no secret matches"):
        verify(scheme, {"other": KEY}, of(headers), body, now=now, tolerance=300)
    for header in scheme.headers:
        with pytest.raises(SignatureMissing, match=header):
            verify(scheme, secrets, of({n: v for n, v in headers.items() if n != header}), body, now=now, tolerance=300)


def test_what_the_library_of_standard_webhooks_signs() -> None:
    moment = datetime.now(UTC)
    signed = standardwebhooks.Webhook(KEY).sign("msg_1", moment, BODY.decode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": f"v1a,junk {signed}",
    }
    found = verify(SCHEMES["standard"], {"a": KEY}, of(headers), BODY, now=moment.timestamp(), tolerance=300)
    assert found == ("a", "msg_1")


def test_the_library_of_standard_webhooks_takes_what_is_signed_here() -> None:
    headers = sign(SCHEMES["standard"], KEY, BODY, now=time.time(), delivery="msg_1")
    assert standardwebhooks.Webhook(KEY).verify(BODY, dict(headers)) == json.loads(BODY)


def test_the_library_of_stripe_takes_what_is_signed_here_and_signs_what_is_taken() -> None:
    headers = sign(SCHEMES["stripe"], "whsec_1", BODY, now=time.time(), delivery="")
    signature = stripe.WebhookSignature
    assert signature.verify_header(BODY.decode(), headers["Stripe-Signature"], "whsec_1", 300)
    made = signature._compute_signature(f"{int(NOW)}.{BODY.decode()}", "whsec_1")
    given = {"Stripe-Signature": f"t={int(NOW)},v1={'0' * 64},v0={'1' * 64},v1={made}"}
    found = verify(SCHEMES["stripe"], {"old": KEY, "new": "whsec_1"}, of(given), BODY, now=NOW, tolerance=300)
    assert found == ("new", "evt_1")
    only_v0 = {"Stripe-Signature": f"t={int(NOW)},v0={made}"}
    with pytest.raises(SignatureWrong):
        verify(SCHEMES["stripe"], {"new": "whsec_1"}, of(only_v0), BODY, now=NOW, tolerance=300)


def test_the_library_of_slack_takes_what_is_signed_here_and_signs_what_is_taken() -> None:
    headers = sign(SCHEMES["slack"], "s", BODY, now=time.time(), delivery="")
    assert SignatureVerifier("s").is_valid_request(BODY, dict(headers))
    made = SignatureVerifier("s").generate_signature(timestamp=str(int(NOW)), body=BODY)
    given = {"X-Slack-Request-Timestamp": str(int(NOW)), "X-Slack-Signature": str(made)}
    assert verify(SCHEMES["slack"], {"a": "s"}, of(given), BODY, now=NOW, tolerance=300) == ("a", "Ev1")


@pytest.mark.parametrize("name", SCHEMES)
def test_what_is_signed_here_is_taken_in_time_and_by_nobody_else(name: str) -> None:
    scheme = SCHEMES[name]
    headers = sign(scheme, KEY, BODY, now=NOW, delivery="d-1")
    given = of(dict(headers))
    found = verify(scheme, {"a": KEY[:-4] + "AAAA", "b": KEY}, given, BODY, now=NOW + 299, tolerance=300)
    assert found.name == "b"
    assert found.delivery in ("d-1", "evt_1", "Ev1")
    with pytest.raises(SignatureWrong, match="no secret matches"):
        verify(scheme, {"a": KEY[:-4] + "AAAA"}, given, BODY, now=NOW, tolerance=300)
    if scheme.has_time:
        with pytest.raises(SignatureWrong, match="signed 412 s ago"):
            verify(scheme, {"b": KEY}, given, BODY, now=NOW + 412, tolerance=300)
        with pytest.raises(SignatureWrong, match="signed 301 s ahead"):
            verify(scheme, {"b": KEY}, given, BODY, now=NOW - 301, tolerance=300)
        assert verify(scheme, {"b": KEY}, given, BODY, now=NOW + 9e9, tolerance=None).name == "b"


def test_milliseconds_are_a_time_too() -> None:
    scheme = Scheme("X-Signature", signed="{timestamp}{body}", timestamp="X-Time")
    headers = sign(scheme, "k", BODY, now=NOW * 1000, delivery="")
    assert verify(scheme, {"a": "k"}, of(dict(headers)), BODY, now=NOW + 2, tolerance=5).name == "a"


BROKEN = [
    b"",
    b"=",
    b"sha256=",
    b"sha1=" + b"0" * 40,
    b"sha256=" + b"0" * 63,
    b"sha256=" + b"g" * 64,
    b"sha256=" + b"0" * 64,
    b"SHA256=" + b"0" * 64,
    b"sha256=" + b"0" * 64 + b",sha256=" + b"0" * 64,
    b"\xff\xfe\x00",
    "sha256=é".encode(),
    b"v1,",
    b"v1,====",
    b"v1 v1 v1",
    b"t=,v1=",
    b"t=1,t=2,v1=" + b"0" * 64,
    b"t=" + b"9" * 5000 + b",v1=" + b"0" * 64,
    b",".join([b"t=1", *[b"v1=" + b"0" * 64] * 10_000]),
    b" ".join([b"v1," + base64.b64encode(b"0" * 32)] * 10_000),
    base64.b64encode(b"0" * 31),
    b" " * 100,
]


@pytest.mark.parametrize("name", SCHEMES)
def test_broken_signatures_are_wrong_or_missing_and_nothing_else(name: str) -> None:
    scheme = SCHEMES[name]
    good = {n.lower(): v for n, v in sign(scheme, KEY, BODY, now=NOW, delivery="d").items()}
    for broken in BROKEN:
        for header in scheme.headers:
            given = of({**good, header.lower(): broken.decode("latin-1")})
            with pytest.raises((SignatureMissing, SignatureWrong)):
                verify(scheme, {"a": KEY}, given, BODY, now=NOW, tolerance=300)


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.layout != "plain"])
def test_no_flipped_bit_of_a_body_gets_through(name: str) -> None:
    scheme, chance = SCHEMES[name], random.Random(4)
    for _ in range(10_000 // 8):
        body = bytearray(chance.randbytes(chance.randint(1, 300)))
        given = of(dict(sign(scheme, KEY, bytes(body), now=NOW, delivery="d")))
        assert verify(scheme, {"a": KEY}, given, bytes(body), now=NOW, tolerance=300).name == "a"
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        with pytest.raises(SignatureWrong):
            verify(scheme, {"a": KEY}, given, bytes(body), now=NOW, tolerance=300)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "evt_1"}', "evt_1"),
        (b'{"id": 1}', "1"),
        (b'{"id": true}', None),
        (b'{"id": ""}', None),
        (b'{"id": "' + b"x" * 256 + b'"}', None),
        (b'{"id": "a\\nb"}', None),
        (b'{"id": "\\ud800"}', None),
        (b'{"id": "\xc3\xa9"}', None),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_the_id_of_a_delivery_in_the_body(body: bytes, found: str | None) -> None:
    given = of(dict(sign(SCHEMES["stripe"], KEY, body, now=NOW, delivery="")))
    assert verify(SCHEMES["stripe"], {"a": KEY}, given, body, now=NOW, tolerance=300).delivery == found
