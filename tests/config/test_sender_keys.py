"""The keys that say what a sender sends and expects: what is right, every mistake at its line and key, and editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config.model import SignatureAuth, TokenAuth
from trigger.config.secret import Secret
from trigger.signatures import SCHEMES

from .editors import errors
from .writing import api, loaded, mistakes

SECRET = "a-secret-of-32-characters-or-more"
KEY = "modules.shop.methods.order"


def signed(keys: str = "", secrets: str = f"{{now: {SECRET}}}", scheme: str = "github") -> str:
    return f"{{mode: signature, scheme: {scheme}, secrets: {secrets}{f', {keys}' if keys else ''}}}"


def custom(keys: str) -> str:
    return signed(keys, scheme="custom")


# What is wrong in `auth`, which is at line 7; its key below it, and a piece of the message. True: editors see it, too.
WRONG_AUTH = [
    ("{mode: signature}", "scheme", "is missing", True),
    (f"{{mode: signature, scheme: github, secret: {SECRET}}}", "secret", "secrets: {current: …}} here", True),
    (f"{{mode: signature, scheme: githb, secrets: {{now: {SECRET}}}}}", "scheme", "did you mean 'github'?", True),
    (signed(secrets="{}"), "secrets", "at least one", True),
    (signed(secrets="{now: ''}"), "secrets", "all empty", False),
    (signed(secrets="{now: '${NOT_SET:-}', next: ''}"), "secrets", "all empty", False),
    (signed(secrets=f"{{{', '.join(f'{name}: {SECRET}' for name in 'abcde')}}}"), "secrets", "more than 4", False),
    (signed(secrets="{now: ' x'}"), "secrets.now", "blank", False),
    (signed(secrets="{now: 'scrypt:1:1:1$a$b'}"), "secrets.now", "is a hash", False),
    (signed(secrets=SECRET), "secrets", "must be a mapping", True),
    (signed(secrets="{now: whsec_no-base64!}", scheme="standard"), "secrets.now", "whsec_ and base64", False),
    (signed("token: x"), "token", "takes no token", True),
    (signed("tolerance: 5m"), "tolerance", "signs no time", False),
    (signed("tolerance: 2h", scheme="stripe"), "tolerance", "1h", False),
    (signed("once: never"), "once", "'never'", True),
    (signed("header: X-Signature"), "header", "fixed by the scheme github", False),
    (signed("digest: sha1"), "digest", "fixed by the scheme github", False),
    (custom("prefix: v1"), "header", "name the header that the signature is in", False),
    (custom("header: 'X Y'"), "header", "must be the name of a header", True),
    (custom("header: X_Y"), "header", "must be the name of a header", True),
    (custom("header: X, digest: md5"), "digest", "sha256", True),
    (custom("header: X, encoding: b64"), "encoding", "base64", True),
    (custom("header: X, signed: 'v0'"), "signed", "must have {body} once", False),
    (custom("header: X, signed: '{body}{body}'"), "signed", "must have {body} once", False),
    (custom("header: X, signed: '{url}.{body}'"), "signed", "{url} is none of", False),
    (custom("header: X, signed: '{timestamp}.{body}'"), "timestamp", "name the header that {timestamp}", False),
    (custom("header: X, timestamp: X-Time"), "timestamp", "is not signed", False),
    (custom("header: X, signed: '{id}.{body}'"), "id", "name the header that {id}", False),
    (custom("header: X, once: 24h"), "once", "needs the id of a delivery", False),
    (f"{{mode: token, token: {SECRET}, header: X-Key, in: path}}", "in", "two places", False),
    (f"{{mode: token, token: {SECRET}, in: query}}", "in", "header or path", True),
    (f"{{mode: token, token: {SECRET}, header: 'X:'}}", "header", "must be the name of a header", True),
    (f"{{mode: password, users: {{ada: {SECRET}}}, header: X-Key}}", "header", "takes no header", True),
]


@pytest.mark.parametrize(("auth", "key", "message", "seen"), WRONG_AUTH)
def test_what_is_wrong_in_auth(tmp_path: Path, auth: str, key: str, message: str, seen: bool) -> None:
    text = api("", auth=auth)
    found = mistakes(tmp_path, text)
    first = next(one for one in found if one.key == f"{KEY}.auth.{key}")
    assert first.line == 7
    assert message in first.message
    assert bool(errors(text)) == seen


# What is wrong in a key of the API, which is at line 9; the key, and a piece of the message. True: editors see it, too.
WRONG_KEYS = [
    ("headers: [X-Event]", "headers", "must be a mapping", True),
    ("headers: {}", "headers", "at least one", False),
    ("headers: {Event: X-Event}", "headers.Event", "must begin with a small letter", True),
    ("headers: {event: 'X Event'}", "headers.event", "must be the name of a header", True),
    ("headers: {a: Authorization}", "headers.a", "is never shown", False),
    ("headers: {a: cookie, b: X-B}", "headers.a", "is never shown", False),
    ("headers: {a: token}", "headers.a", "is never shown", False),
    (f"headers: {{{', '.join(f'h{n}: X-{n}' for n in range(21))}}}", "headers", "more than 20", False),
    ("verbs: [TRACE]", "verbs.0", "'TRACE'", True),
    ("when: input.ref", "when", "{{", True),
    ("when: '{{ input.ref'", "when", "", True),
    ("when: '{{ steps.a.output }}'", "when", "can use input, headers and caller", False),
    ("when: '{{ headers.event }}'", "when", "event", False),
    ("body: yaml", "body", "auto, json, form", True),
    ("body: true", "body", "auto, json, form", True),
    ("sync: 61s", "sync", "must be from 1s to 1m", False),
    ("sync: 0s", "sync", "must be from 1s to 1m", False),
    ("sync: true", "sync", "a duration with its unit", True),
    ("wait: 10s", "wait", "is called sync here", True),
    ("answer: 200", "answer", "must be a mapping", True),
    ("answer: {status: 302}", "answer.status", "from 200 to 204", True),
    ("answer: {satus: 200}", "answer.satus", "did you mean 'status'?", True),
    ("answer: {body: all}", "answer.body", "uid or none", True),
    ("answer: {status: 204, body: uid}", "answer.body", "can't be sent with the status 204", False),
    ("answer: {head: 500}", "answer.head", "from 200 to 204", True),
    ("answer: {handshake: githib}", "answer.handshake", "did you mean 'github'?", True),
    ("answer: {handshake: meta}", "answer.verify", "is missing", False),
    ("answer: {handshake: slack, verify: x}", "answer.verify", "for the handshake of meta only", False),
    ("files: keep", "files", "must be ignore", True),
    ("files: {max: 5}", "files.size", "is missing", True),
    ("files: {max: 0, size: 1 MiB}", "files.max", "from 1 to 100", False),
]


@pytest.mark.parametrize(("text", "key", "message", "seen"), WRONG_KEYS)
def test_what_is_wrong_in_a_key(tmp_path: Path, text: str, key: str, message: str, seen: bool) -> None:
    whole = api(text)
    (found,) = mistakes(tmp_path, whole)
    assert (found.line, found.key) == (9, f"{KEY}.{key}")
    assert message in found.message
    assert bool(errors(whole)) == seen


# What does not fit together: the auth, other keys from line 9 on, the line and the key of the mistake, its message.
TOGETHER = [
    (signed(), "verbs: [GET]", 9, "verbs", "no body that could be signed"),
    (signed(), "headers: {sign: x-hub-signature-256}", 9, "headers.sign", "holds the credential"),
    (f"{{mode: token, token: {SECRET}, header: X-Key}}", "headers: {key: x-key}", 9, "headers.key", "the credential"),
    ("{mode: none}", "answer: {handshake: zoom}", 9, "answer.handshake", "the secret of a signature"),
    ("{mode: none}", "body: text\ninput: {fields: {a: {type: string}}}", 9, "body", "gives no object"),
    ("{mode: none}", "headers: {event: X-E}\nwhen: '{{ headers.evnt }}'", 10, "when", "evnt"),
    (
        "{mode: none}",
        "input: {fields: {ref: {type: string}}}\nwhen: '{{ input.rf }}'",
        10,
        "when",
        "did you mean 'ref'?",
    ),
]


@pytest.mark.parametrize(("auth", "keys", "line", "key", "message"), TOGETHER)
def test_what_does_not_fit_together(tmp_path: Path, auth: str, keys: str, line: int, key: str, message: str) -> None:
    (found,) = mistakes(tmp_path, api(keys, auth=auth))
    assert (found.line, found.key) == (line, f"{KEY}.{key}")
    assert message in found.message


RIGHT_AUTH = [
    *(signed(scheme=scheme) for scheme in SCHEMES if scheme != "standard"),
    signed(secrets="{now: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'}", scheme="standard"),
    signed("once: 24h, tolerance: 1h", scheme="slack"),
    signed("once: off"),
    signed(secrets=f"{{now: {SECRET}, next: '${{NOT_SET:-}}', old: ''}}"),
    custom("header: X-Sign, digest: sha1, encoding: base64, prefix: 'v0=', signed: 'v0:{timestamp}:{id}:{body}', "
           "timestamp: X-Time, id: X-Id, once: 1h, tolerance: 30s"),
    f"{{mode: token, token: {SECRET}, header: X-Gitlab-Token}}",
    f"{{mode: token, tokens: {{ci: {SECRET}}}, in: path}}",
    f"{{mode: token, token: {SECRET}, in: header}}",
]  # fmt: skip


@pytest.mark.parametrize("auth", RIGHT_AUTH)
def test_what_is_right_in_auth_is_right_for_editors(tmp_path: Path, auth: str) -> None:
    text = api("", auth=auth)
    assert loaded(tmp_path, text).apis["shop", "order"].auth.mode in ("signature", "token")
    assert errors(text) == []


RIGHT_KEYS = [
    "headers: {event: X-GitHub-Event, delivery: X-GitHub-Delivery}",
    "when: \"{{ headers.event == 'push' and input.ref and caller }}\"\nheaders: {event: X-Event}",
    "verbs: [PUT, PATCH, DELETE]",
    "sync: 10s",
    *(f"body: {kind}" for kind in ("auto", "json", "form", "text", "xml", "lines", "raw")),
    "answer: {status: 200, body: none, head: 204}",
    "answer: {handshake: meta, verify: 'a-word-of-mine-only'}",
    *(
        f"answer: {{handshake: {name}}}"
        for name in ("cloudevents", "dropbox", "eventgrid", "github", "msgraph", "slack")
    ),
    "files: ignore",
]


@pytest.mark.parametrize("keys", RIGHT_KEYS)
def test_what_is_right_in_a_key_is_right_for_editors(tmp_path: Path, keys: str) -> None:
    text = api(keys)
    assert loaded(tmp_path, text).apis["shop", "order"]
    assert errors(text) == []


def test_what_is_said_is_what_counts(tmp_path: Path) -> None:
    auth = (
        loaded(tmp_path, api("", auth=signed("once: 1d", secrets=f"{{now: {SECRET}, next: ''}}")))
        .apis["shop", "order"]
        .auth
    )
    assert auth == SignatureAuth(SCHEMES["github"], {"now": Secret(SECRET)}, None, 86_400.0, "github")
    auth = loaded(tmp_path, api("", auth=signed(scheme="stripe"))).apis["shop", "order"].auth
    assert isinstance(auth, SignatureAuth)
    assert (auth.tolerance, auth.once) == (300.0, None)
    auth = loaded(tmp_path, api("", auth=f"{{mode: token, token: {SECRET}, in: path}}")).apis["shop", "order"].auth
    assert auth == TokenAuth({"token": Secret(SECRET)}, "")


def test_a_secret_is_never_in_a_message(tmp_path: Path) -> None:
    for secrets in (f"{{now: ' {SECRET}'}}", f"{{now: whsec_{SECRET}!}}", SECRET):
        for one in mistakes(tmp_path, api("", auth=signed(secrets=secrets, scheme="standard"))):
            assert SECRET not in one.message


@pytest.mark.parametrize(
    ("auth", "key", "message"),
    [
        (signed(), "auth", "says no `once`"),
        (signed("once: 24h", secrets="{now: 20-characters-of-it}"), "auth.secrets.now", "shorter than 24"),
        (signed("once: 24h", secrets="{now: short}"), "auth.secrets.now", "shorter than 16"),
        (f"{{mode: token, token: {SECRET}, in: path}}", "auth", "proxies, browsers and logs"),
    ],
)
def test_what_is_unwise_is_a_warning(tmp_path: Path, auth: str, key: str, message: str) -> None:
    (warning,) = loaded(tmp_path, api("", auth=auth)).warnings
    assert (warning.line, warning.key) == (7, f"{KEY}.{key}")
    assert message in warning.message
