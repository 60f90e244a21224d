"""The keys that say how a sender signs, what it sends and what it expects: their mistakes, and what is unwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from .writing import api, loaded, mistake

LONG = "a-secret-of-more-than-24-characters"
CUSTOM = f"mode: signature, scheme: custom, header: X-Sign, secrets: {{a: {LONG}}}"
GITHUB = f"mode: signature, scheme: github, secrets: {{a: {LONG}}}"


@pytest.mark.parametrize(
    ("auth", "place", "says"),
    [
        (f"mode: signature, secrets: {{a: {LONG}}}", "scheme", "missing"),
        ("mode: signature, scheme: github", "secrets", "missing"),
        (f"mode: signature, scheme: githup, secrets: {{a: {LONG}}}", "scheme", "github"),
        (f"mode: signature, scheme: custom, secrets: {{a: {LONG}}}", "header", "is missing"),
        (f"{GITHUB}, digest: sha512", "digest", "fixed by the scheme github"),
        (f"{GITHUB}, tolerance: 1m", "tolerance", "signs no time"),
        (f"{CUSTOM}, once: 24h", "once", "needs the id of a delivery"),
        (f"{CUSTOM}, digest: md5", "digest", "sha256"),
        (f'{CUSTOM}, signed: "{{id}}"', "signed", "must have {body} once"),
        (f'{CUSTOM}, signed: "{{body}}{{url}}"', "signed", "is none of"),
        (f'{CUSTOM}, signed: "{{timestamp}}{{body}}"', "timestamp", "is missing"),
        (f'{CUSTOM}, signed: "{{id}}{{body}}"', "id", "is missing"),
        (f"{CUSTOM}, timestamp: X-Time", "timestamp", "anybody can change it"),
        (f'{CUSTOM}, signed: "{{id}}{{body}}", id: body:event.id', "id", "must be in a header"),
        (f"{CUSTOM}, id: 'body:event id'", "id", "body:event.id"),
        (f"{CUSTOM}, id: 'X Id'", "id", "name of a header"),
        ('mode: signature, scheme: github, secrets: {a: ""}', "secrets", "are all empty"),
        ('mode: signature, scheme: github, secrets: {a: "scrypt:32768:8:1$x$y"}', "secrets.a", "is a hash"),
        (f"mode: signature, scheme: standard, secrets: {{a: {LONG}!}}", "secrets.a", "whsec_"),
        (f"mode: token, in: path, header: X-Key, token: {LONG}", "in", "two places"),
    ],
)
def test_a_mistake_of_auth_is_told(tmp_path: Path, auth: str, place: str, says: str) -> None:
    found = mistake(tmp_path, api("verbs: [POST]", f"{{{auth}}}"))
    assert found.key == f"modules.shop.methods.order.auth.{place}"
    assert says in found.message
    assert LONG not in found.message


@pytest.mark.parametrize(
    "token", ["with/slash-0123456789", "with blank-0123456789", "per%20cent-0123456789", ".", ".."]
)
def test_a_token_that_no_path_can_have_is_a_mistake(tmp_path: Path, token: str) -> None:
    found = mistake(tmp_path, api("", f'{{mode: token, in: path, tokens: {{a: {LONG}, b: "{token}"}}}}'))
    assert found.key == "modules.shop.methods.order.auth"
    assert token not in found.message or len(token) < 3


@pytest.mark.parametrize(
    ("keys", "auth", "place", "says"),
    [
        ("answer: {handshake: meta}", GITHUB, "answer.verify", "is missing"),
        ("answer: {handshake: slack, verify: a-word-of-my-own}", GITHUB, "answer.verify", "meta only"),
        ("answer: {handshake: slak}", GITHUB, "answer.handshake", "slack"),
        ("answer: {handshake: zoom}", "mode: none", "answer.handshake", "signature"),
        ("answer: {status: 302}", GITHUB, "answer.status", "204"),
        ("headers: {key: X-Hub-Signature-256}", GITHUB, "headers.key", "never shown"),
        ("headers: {key: Authorization}", GITHUB, "headers.key", "never shown"),
        ("headers: {key: X-Api-Key}", f"mode: token, header: X-API-Key, token: {LONG}", "headers.key", "never shown"),
        ("verbs: [GET]", GITHUB, "verbs", "no body that could be signed"),
        ("when: \"{{ headers.event == 'push' }}\"", GITHUB, "when", "headers"),
        ("body: text\ninput: {fields: {a: {type: string}}}", GITHUB, "body", "no object"),
    ],
)
def test_a_mistake_of_an_api_is_told(tmp_path: Path, keys: str, auth: str, place: str, says: str) -> None:
    found = mistake(tmp_path, api(keys, f"{{{auth}}}"))
    assert found.key == f"modules.shop.methods.order.{place}"
    assert says in found.message


@pytest.mark.parametrize(
    ("auth", "says"),
    [
        (f"{GITHUB}, once: 24h", []),
        (f"{GITHUB}, once: off", []),
        (GITHUB, ["says no `once`"]),
        ("mode: signature, scheme: github, once: 24h, secrets: {a: twenty-characters-00}", ["shorter than 24"]),
        (f"mode: token, in: path, token: {LONG}", ["the token is in the path"]),
    ],
)
def test_what_is_unwise_is_warned_of(tmp_path: Path, auth: str, says: list[str]) -> None:
    warnings = loaded(tmp_path, api("verbs: [POST]", f"{{{auth}}}")).warnings
    assert len(warnings) == len(says)
    assert all(word in warning.message for word, warning in zip(says, warnings, strict=True))
