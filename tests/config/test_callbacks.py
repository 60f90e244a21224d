"""The section `callbacks`, and the keys that name its entries: what is right, and every mistake at its place."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from trigger.config import json_schema
from trigger.config.addresses import is_public
from trigger.config.callbacks import guarded
from trigger.config.model import Config
from trigger.errors import Mistake

from .editors import errors
from .writing import loaded, mistakes

KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
SHORT = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
OPS = f"{{url: 'https://ops.example/hooks', secrets: [{KEY}]}}"
MAIL = "mail: {to: [ops@example.org], from: trigger@example.org, smtp: 'smtp://user:pass-word@mail.example:587'}"


def text(callback: str = OPS, *, server: str = "", api: str = "", workflow: str = "") -> str:
    """A config with the callbacks `ops` (line 2) and `other`."""
    return (
        f"callbacks:\n  ops: {callback}\n  other: {{url: 'https://x.example/', format: ntfy}}\n"
        f"server: {{{server}}}\n"
        f"workflows:\n  hello: {{python: 'examples.hello:greet'{workflow and ', '}{workflow}}}\n"
        f"modules: {{shop: {{methods: {{order: {{auth: {{mode: none}}, workflow: hello{api and ', '}{api}}}}}}}}}\n"
    )


def told(config: Config) -> dict[str, tuple[str, ...]]:
    return dict(config.apis["shop", "order"].callbacks)


EVERY_END = ("succeeded", "failed", "cancelled")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {}),
        ({"server": "callback: ops"}, {"ops": ("failed",)}),
        ({"workflow": "callback: ops"}, {"ops": EVERY_END}),
        ({"api": "callback: [ops, other]"}, {"ops": EVERY_END, "other": EVERY_END}),
        ({"api": "callback: other", "workflow": "callback: ops", "server": "callback: ops"}, {"other": EVERY_END}),
        ({"workflow": "callback: other", "server": "callback: ops"}, {"other": EVERY_END}),
        ({"api": "callback: []", "workflow": "callback: ops"}, {}),
        ({"api": "callback: []", "server": "callback: ops"}, {}),
    ],
)
def test_the_nearest_key_says_who_is_told_of_what(
    tmp_path: Path, keys: dict[str, str], expected: dict[str, tuple[str, ...]]
) -> None:
    assert told(loaded(tmp_path, text(**keys))) == expected


def test_a_callback_itself_may_say_of_what_it_is_told(tmp_path: Path) -> None:
    callback = f"{{url: 'https://ops.example/hooks', secrets: [{KEY}], on: [cancelled, succeeded]}}"
    for where in ("server", "workflow", "api"):
        assert told(loaded(tmp_path, text(callback, **{where: "callback: ops"}))) == {"ops": ("cancelled", "succeeded")}


def test_there_is_a_queue_of_callbacks_where_there_are_any(tmp_path: Path) -> None:
    assert loaded(tmp_path, text()).queues == ("callbacks", "default")
    without = "\n".join(text().splitlines()[3:]) + "\n"
    assert loaded(tmp_path, without).queues == ("default",)
    assert loaded(tmp_path, "callbacks:\n" + without).queues == ("default",)


def test_an_empty_further_secret_is_left_out(tmp_path: Path) -> None:
    found = loaded(tmp_path, text(f"{{url: 'https://ops.example/', secrets: [{KEY}, '${{CB_OLD:-}}']}}"))
    assert len(found.callbacks["ops"].secrets) == 1
    assert found.warnings == ()


WRONG = [
    ("{}", "callbacks.ops", "exactly one of url", True),
    (f"{{url: 'https://x.example/', {MAIL}}}", "callbacks.ops", "exactly one of url", True),
    ("{url: 'ftp://x.example/'}", "callbacks.ops.url", "https://host/path", False),
    ("{url: 'https:///x'}", "callbacks.ops.url", "https://host/path", False),
    ('{url: "https://x.example/\\r\\nHost: y"}', "callbacks.ops.url", "https://host/path", False),
    ("{url: 'https://x.example/a b'}", "callbacks.ops.url", "https://host/path", False),
    ("{url: 'https://10.1.2.3/'}", "callbacks.ops.url", "addresses: any", False),
    ("{url: 'https://[::1]:8080/'}", "callbacks.ops.url", "addresses: any", False),
    ("{url: 'https://LOCALHOST./'}", "callbacks.ops.url", "addresses: any", False),
    *(
        (f"{{url: 'http://{host}/'}}", "callbacks.ops.url", "addresses: any", False)
        for host in ("0x7f000001", "2130706433", "0", "127.1", "017700000001", "127.0.0.1.", "10.1")
    ),
    ("{mail: {to: [a@b], from: a@b, smtp: 'smtp://0x7f.1'}}", "callbacks.ops.mail.smtp", "addresses: any", False),
    ("{url: 'http://169.254.169.254/latest'}", "callbacks.ops.url", "addresses: any", False),
    ("{url: 'https://x.example/', secrets: []}", "callbacks.ops.secrets", "must be a list", True),
    ("{url: 'https://x.example/', secrets: ['', '${OLD:-}']}", "callbacks.ops.secrets", "all empty", False),
    ("{url: 'https://x.example/', secrets: ['a secret text']}", "callbacks.ops.secrets.0", "whsec_ and base64", False),
    (
        f"{{url: 'https://x.example/', secrets: [{', '.join([KEY] * 5)}]}}",
        "callbacks.ops.secrets",
        "more than 4",
        False,
    ),
    (f"{{url: 'https://x.example/', format: slack, secrets: [{KEY}]}}", "callbacks.ops.secrets", "no effect", False),
    ("{url: 'https://x.example/', format: ntfy, include: [output]}", "callbacks.ops.include", "no effect", False),
    ("{url: 'https://x.example/', format: slak}", "callbacks.ops.format", "did you mean 'slack'?", True),
    (f"{{{MAIL}, format: slack}}", "callbacks.ops.format", "that of a url", False),
    ("{url: 'https://x.example/', on: [faild]}", "callbacks.ops.on.0", "did you mean 'failed'?", True),
    ("{url: 'https://x.example/', on: failed}", "callbacks.ops.on", "must be a list", True),
    ("{url: 'https://x.example/', include: [headers]}", "callbacks.ops.include.0", "must be input, output", True),
    ("{url: 'https://x.example/', addresses: all}", "callbacks.ops.addresses", "public or any", True),
    ("{url: 'https://x.example/', secret: x}", "callbacks.ops.secret", "is called secrets here", True),
    ("{uri: 'https://x.example/'}", "callbacks.ops.uri", "is called url here", True),
    ("{mail: {to: [], from: a@b.example, smtp: 'smtp://m.example'}}", "callbacks.ops.mail.to", "list of", True),
    ("{mail: {to: ['A <a@b>'], from: a@b, smtp: 'smtp://m.example'}}", "callbacks.ops.mail.to.0", "alone", False),
    (
        '{mail: {to: [a@b], from: "a@b\\r\\nBcc: c@d", smtp: "smtp://m.example"}}',
        "callbacks.ops.mail.from",
        "alone",
        False,
    ),
    ("{mail: {to: [a@b, a..b@c], from: a@b, smtp: 'smtp://m.example'}}", "callbacks.ops.mail.to.1", "alone", False),
    ("{mail: {to: [a@b], from: a@b, smtp: 'https://m.example'}}", "callbacks.ops.mail.smtp", "smtp://user", False),
    ("{mail: {to: [a@b], from: a@b, smtp: 'smtp://me@m.example'}}", "callbacks.ops.mail.smtp", "password", False),
    ("https://x.example/", "callbacks.ops", "must be a mapping", True),
]


@pytest.mark.parametrize(("callback", "key", "message", "seen"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_every_mistake_of_a_callback_is_told_at_its_place(
    tmp_path: Path, callback: str, key: str, message: str, seen: bool
) -> None:
    found = mistakes(tmp_path, text(callback))
    assert any(one.key == key and message in one.message and one.line == 2 for one in found), found
    if seen:
        assert errors(text(callback)), "editors see it, too"


def only(found: list[Mistake]) -> tuple[str, str]:
    assert len(found) == 1, found
    return found[0].key, found[0].message


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    for where, place in (
        ("server", "server.callback"),
        ("workflow", "workflows.hello.callback"),
        ("api", "modules.shop.methods.order.callback"),
    ):
        assert only(mistakes(tmp_path, text(**{where: "callback: opps"}))) == (
            place,
            "'opps' is not one of `callbacks`; did you mean 'ops'?",
        )
        key, message = only(mistakes(tmp_path, text(**{where: "callback: [ops, zebra]"})))
        assert key == f"{place}.1"
        assert "declare it there" in message
        assert "given twice" in only(mistakes(tmp_path, text(**{where: "callback: [ops, ops]"})))[1]


def test_their_queue_is_no_workflows(tmp_path: Path) -> None:
    key, message = only(mistakes(tmp_path, text(workflow="queue: callbacks")))
    assert key == "workflows.hello.queue"
    assert "take another" in message


@pytest.mark.parametrize(
    ("callback", "key", "message"),
    [
        (f"{{url: 'http://ops.example/', secrets: [{KEY}]}}", "callbacks.ops.url", "without TLS"),
        ("{url: 'https://ops.example/'}", "callbacks.ops", "is not signed"),
        (f"{{url: 'https://ops.example/', secrets: [{SHORT}]}}", "callbacks.ops.secrets.0", "fewer than 24 bytes"),
    ],
)
def test_what_is_unwise_is_warned_of(tmp_path: Path, callback: str, key: str, message: str) -> None:
    (warning,) = loaded(tmp_path, text(callback)).warnings
    assert (warning.key, warning.line) == (key, 2)
    assert message in warning.message


@pytest.mark.parametrize("callback", [OPS, f"{{{MAIL}}}", "{url: 'http://127.0.0.1/', addresses: any, format: gotify}"])
def test_what_is_right_is_right_for_editors_too(tmp_path: Path, callback: str) -> None:
    whole = text(callback, server="callback: [ops]", api="callback: other", workflow="callback: []")
    assert loaded(tmp_path, whole).warnings == ()
    assert errors(whole) == []
    assert "callbacks" in json_schema()["properties"]


def test_no_repr_shows_a_secret_of_a_callback(tmp_path: Path) -> None:
    environ = {"SLACK": "https://hooks.slack.example/services/T0/B0/XYZ", "KEY": KEY}
    whole = text("{url: '${SLACK}', secrets: ['${KEY}']}").replace(
        "other: {url: 'https://x.example/', format: ntfy}", f"other: {{{MAIL}}}"
    )
    config = loaded(tmp_path, whole, environ)
    shown = repr(config)
    for secret in ("B0/XYZ", KEY, "pass-word"):
        assert secret not in shown
    assert "/services/T0/B0/XYZ" in guarded(config.callbacks["ops"])
    assert "pass-word" in guarded(config.callbacks["other"])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.3.4", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:db8::1", False),
    ],
)
def test_what_is_not_on_the_internet_is_known(address: str, public: bool) -> None:
    assert is_public(address) is public
