"""GET /openapi.json: what it says of each API, who may read it, and that it is made once."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import eventually
from tests.web.conftest import MakeSite
from tests.web.described import CONFIG
from tests.web.site import OPERATOR, OTHER_TOKEN, TOKEN, Refusal, Site, basic, refusal, seen
from trigger.config.model import Config
from trigger.web.openapi import document as made_by

PATH = "/openapi.json"
PATHS = [PATH, "/docs", "/docs/start.js", "/docs/swagger-ui.css"]
NOTHING = Refusal(404, "requestError.notFound", "There is nothing at this path")
ADMIN = basic("ada", OPERATOR)


@pytest.fixture(scope="module")
def module_described(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def described(module_described: Site, redis: Redis) -> Site:
    """The app under CONFIG, with an empty Redis."""
    return module_described


def document(site: Site) -> dict[str, Any]:
    answer = site.call(PATH, "GET")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    read: dict[str, Any] = json.loads(answer.data)
    return read


def operation(site: Site, api: str, verb: str = "post") -> dict[str, Any]:
    found: dict[str, Any] = document(site)["paths"][f"/v1/api/{api}/async"][verb]
    return found


def body(site: Site, api: str, media_type: str = "application/json") -> Any:
    return operation(site, api)["requestBody"]["content"][media_type]["schema"]


def parameters(site: Site, api: str) -> dict[str, dict[str, Any]]:
    """The query parameters of an API by name."""
    return {it["name"]: it for it in operation(site, api, "get")["parameters"] if it.get("in") == "query"}


# What it says


def test_it_is_openapi_3_1(described: Site) -> None:
    found = document(described)
    assert found["openapi"] == "3.1.0"
    validate(found)


def test_it_has_the_enabled_apis_with_their_verbs(described: Site) -> None:
    paths = {path: set(item) for path, item in document(described)["paths"].items() if path.startswith("/v1/api/")}
    both = {"get", "post"}
    assert paths == {
        **{f"/v1/api/all/{name}/async": both for name in ("types", "keeps", "drops", "nested")},
        "/v1/api/any/both/async": both,
        "/v1/api/any/get/async": {"get"},
    }


def test_it_has_what_is_there_whatever_the_config_says(described: Site) -> None:
    one = "/v1/executions/{uid}"
    fixed = {path: set(item) for path, item in document(described)["paths"].items() if "/api/" not in path}
    assert fixed == {
        **{path: {"get"} for path in ("/v1/executions", one, f"{one}/logs", f"{one}/events", "/healthz", "/readyz")},
        **{f"{one}/{act}": {"post"} for act in ("cancel", "rerun", "resume", "callbacks/{name}/again")},
    }


def test_what_callbacks_send_is_described_where_there_are_any(described: Site, make_site: MakeSite) -> None:
    assert "webhooks" not in document(described)
    site = make_site(f"callbacks: {{ops: {{url: 'https://ops.example/'}}}}\n{CONFIG}")
    found = document(site)
    validate(found)
    sent = found["webhooks"]["execution"]["post"]
    assert {one["name"] for one in sent["parameters"]} == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_an_edit_is_told_with_the_prefix_and_the_modules_of_the_config(make_site: MakeSite) -> None:
    site = make_site(CONFIG.replace("server: {", "server: {prefix: /hooks, "))
    assert "/hooks/all/types/async" in document(site)["paths"]
    assert document(site)["tags"][0] == {"name": "all", "description": "Every kind of field"}
    site.edit('"off":', "fresh:\n        enabled: true")
    assert "/hooks/all/fresh/async" in document(site)["paths"]
    validate(document(site))


@pytest.mark.parametrize(
    ("api", "security"),
    [
        ("all/types", []),
        ("all/keeps", [{"token": []}, {"bearer": []}]),
        ("all/drops", [{"user": [], "password": []}, {"basic": []}]),
    ],
)
def test_it_says_how_to_authenticate(described: Site, api: str, security: list[Any]) -> None:
    assert operation(described, api)["security"] == security
    schemes = document(described)["components"]["securitySchemes"]
    assert schemes["token"] == {"type": "apiKey", "in": "header", "name": "token"}
    assert {schemes[name]["scheme"] for name in ("bearer", "basic")} == {"bearer", "basic"}


def test_it_has_every_answer_with_an_example(described: Site) -> None:
    found = document(described)
    always = {"202", "400", "403", "404", "405", "413", "414", "422", "429", "431", "500", "503"}
    assert set(operation(described, "all/types", "get")["responses"]) == always
    assert set(operation(described, "all/types")["responses"]) == always | {"408", "415"}
    assert set(operation(described, "all/keeps")["responses"]) == always | {"401", "408", "415"}
    for name, response in found["components"]["responses"].items():
        (content,) = response["content"].values()
        for example in content["examples"].values():
            if name != "202":
                assert example["value"]["response"]["error"].keys() >= {"code", "message"}
    headers = {name: set(it.get("headers", {})) for name, it in found["components"]["responses"].items()}
    assert "Location" in headers["202"]
    assert headers["405"] == {"Allow"}
    assert headers["429"] == headers["503"] == {"Retry-After"}
    assert headers["401-token"] == headers["401-password"] == {"WWW-Authenticate"}


def test_an_api_that_may_be_waited_for_has_a_path_for_that(make_site: MakeSite) -> None:
    site = make_site(
        CONFIG.replace(
            '"off":',
            "sync: {enabled: true, sync: 10s, auth: {mode: none}, workflow: echo}\n      "
            'ok: {enabled: true, sync: 60s, answer: {status: 200}, auth: {mode: none}, workflow: echo}\n      "off":',
            1,
        )
    )
    found = document(site)
    validate(found)
    paths = found["paths"]
    assert "/v1/api/all/types/sync" not in paths
    waits, starts = paths["/v1/api/all/sync/sync"]["post"], paths["/v1/api/all/sync/async"]["post"]
    assert waits["responses"].keys() - starts["responses"].keys() == {"200", "424"}
    assert waits["responses"]["200"]["headers"].keys() == {"Location", "Idempotency-Replayed", "Preference-Applied"}
    assert "10 s" in waits["description"]
    assert waits["operationId"] != starts["operationId"]
    assert {it["name"] for it in waits["parameters"] if "name" in it} == {"Prefer"}
    (ok,) = paths["/v1/api/all/ok/sync"]["get"]["responses"]["200"]["content"].values()
    assert ok["examples"].keys() == {"succeeded", "accepted"}
    example = found["components"]["responses"]["424"]["content"]["application/json"]["examples"]["ExecutionFailed"]
    assert example["value"]["response"].keys() == {"error", "uid"}


def test_the_answers_of_a_limited_api_have_its_headers(make_site: MakeSite) -> None:
    more = "enabled: true, sync: 10s, auth: {mode: none}, workflow: echo"
    own = f"rated: {{{more}, rate: 9/1m}}\n      burst: {{{more}, debounce: 5s, answer: {{status: 200}}}}"
    found = document(make_site(CONFIG.replace('"off":', f'{own}\n      "off":', 1)))
    validate(found)

    def headers(api: str, status: str) -> dict[str, bool]:
        response = found["paths"][f"/v1/api/all/{api}/sync"]["post"]["responses"][status]
        return {name: header["required"] for name, header in response["headers"].items()}

    quota = {"RateLimit": False, "RateLimit-Policy": False}
    for status in ("200", "424", "202"):
        assert quota.items() <= headers("rated", status).items()
        assert headers("rated", status)["Location"]
    for status in ("200", "424"):
        assert headers("burst", status)["Execution-Merged"] is False
        assert not quota.keys() & headers("burst", status).keys()


def test_each_kind_of_field_is_in_the_body_as_json_and_as_a_form(described: Site) -> None:
    schema = body(described, "all/types")
    assert schema["required"] == ["word"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["word"] == {"type": "string", "minLength": 1, "maxLength": 80}
    assert properties["text"]["type"] == ["string", "null"]
    assert properties["text"]["description"] == "Some text"
    assert properties["code"]["pattern"] == "^[A-Z]{2}[0-9]+$"
    assert properties["colour"] == {"enum": ["red", "green"], "default": "red"}
    assert properties["count"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 1}
    assert properties["level"]["enum"] == [1, 2, 3, None]
    assert [properties[name]["format"] for name in ("day", "at", "mail")] == ["date", "date-time", "email"]
    assert properties["link"]["pattern"].startswith("^[hH][tT][tT][pP][sS]?://")
    assert properties["address"]["required"] == ["city"]
    assert properties["lines"]["items"]["properties"]["sku"] == {"type": "string", "minLength": 1}
    form = body(described, "all/types", "application/x-www-form-urlencoded")
    assert form["properties"]["count"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 1}
    assert properties.keys() - form["properties"].keys() == {"address", "lines", "extra"}


def test_a_form_is_not_told_where_it_could_not_say_what_is_required(described: Site) -> None:
    assert set(operation(described, "all/nested")["requestBody"]["content"]) == {"application/json"}
    assert "o can't be said in a query" in operation(described, "all/nested", "get")["description"]


def test_other_fields_are_allowed_where_they_are_kept_or_dropped(described: Site) -> None:
    assert "additionalProperties" not in body(described, "all/keeps")
    assert "additionalProperties" not in body(described, "all/drops")


def test_the_query_of_a_get_has_a_parameter_for_each_field(described: Site) -> None:
    found = parameters(described, "all/types")
    assert found["word"]["required"] is True
    assert found["count"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 1}
    assert found["count"]["allowEmptyValue"] is True
    assert "allowEmptyValue" not in found["text"]
    assert found["tags"]["schema"] == {"type": "array", "items": {"type": "string"}, "maxItems": 5}
    assert not found.keys() & {"address", "lines", "extra"}


def test_an_api_without_declared_fields_takes_anything(described: Site) -> None:
    assert body(described, "any/both") == {}
    assert parameters(described, "any/both")["input"]["schema"] == {"type": "object"}


def test_the_debug_data_is_the_example(described: Site) -> None:
    content = operation(described, "all/types")["requestBody"]["content"]["application/json"]
    masked = {"word": "hello", "count": 3, "card": "***", "day": "2026-01-31", "tags": ["a", "b"]}
    assert content["examples"] == {"debug": {"value": masked}}
    assert parameters(described, "all/types")["count"]["example"] == 3


def test_a_description_of_several_lines_has_its_first_as_summary(described: Site) -> None:
    found = operation(described, "all/types")
    assert (found["summary"], found["description"]) == ("One line", "One line\nAnd more about it")
    assert operation(described, "all/keeps")["summary"] == "all/keeps"


SENDERS = f"""\
docs: public
workflows: {{echo: "work:echo"}}
modules:
  hooks:
    methods:
      github:
        enabled: true
        verbs: [POST, PUT]
        auth: {{mode: signature, scheme: github, secrets: {{now: {TOKEN}-{TOKEN}}}, once: 24h}}
        when: "{{{{ input.ref == 'main' }}}}"
        answer: {{handshake: github, head: 200}}
        body: json
        workflow: echo
      gitlab:
        enabled: true
        verbs: [POST]
        auth: {{mode: signature, scheme: gitlab, secrets: {{now: {TOKEN}-{TOKEN}}}, once: 24h}}
        workflow: echo
      slack:
        enabled: true
        verbs: [POST]
        auth: {{mode: signature, scheme: slack, secrets: {{now: {TOKEN}-{TOKEN}}}, once: 24h}}
        answer: {{status: 200}}
        body: form
        workflow: echo
      path:
        enabled: true
        verbs: [DELETE]
        auth: {{mode: token, token: {TOKEN}, in: path}}
        answer: {{status: 204}}
        body: xml
        workflow: echo
      key:
        enabled: true
        verbs: [POST]
        auth: {{mode: token, token: {TOKEN}, header: "X-Api!Key"}}
        body: raw
        workflow: echo
"""


def test_it_says_what_senders_send(make_site: MakeSite) -> None:
    site = make_site(SENDERS)
    found = document(site)
    validate(found)
    assert TOKEN not in json.dumps(found)
    paths = {path: set(item) for path, item in found["paths"].items() if path.startswith("/v1/api/")}
    assert paths == {
        "/v1/api/hooks/github/async": {"post", "put", "head"},
        "/v1/api/hooks/gitlab/async": {"post"},
        "/v1/api/hooks/slack/async": {"post"},
        "/v1/api/hooks/path/async/{token}": {"delete"},
        "/v1/api/hooks/key/async": {"post"},
    }
    schemes = found["components"]["securitySchemes"]

    def headers(api: str) -> list[list[str]]:
        ways = operation(site, f"hooks/{api}")["security"]
        return [[schemes[name].get("name", name) for name in way] for way in ways]

    assert headers("github") == [["X-Hub-Signature-256"]]
    assert headers("slack") == [["X-Slack-Signature", "X-Slack-Request-Timestamp"]]
    assert headers("key") == [["X-Api!Key"], ["token"], ["bearer"]]


def test_it_says_how_senders_are_answered(make_site: MakeSite) -> None:
    site = make_site(SENDERS)
    github, slack = operation(site, "hooks/github"), operation(site, "hooks/slack")
    assert {"name": "X-GitHub-Delivery", "in": "header"}.items() <= github["parameters"][-1].items()
    assert "handshake of github" in github["description"]
    (shown,) = github["responses"]["202"]["content"].values()
    assert set(shown["examples"]) == {"accepted", "ignored"}
    assert "202" not in slack["responses"]
    assert slack["responses"]["200"] == {"$ref": "#/components/responses/202"}
    assert slack["responses"]["401"] == {"$ref": "#/components/responses/401-signature"}
    assert set(github["requestBody"]["content"]) == {"application/json"}
    assert set(slack["requestBody"]["content"]) == {"application/x-www-form-urlencoded", "multipart/form-data"}
    bare = document(site)["paths"]["/v1/api/hooks/path/async/{token}"]["delete"]
    assert "content" not in bare["responses"]["204"]
    assert bare["parameters"][0]["name"] == "token"
    assert set(bare["requestBody"]["content"]) == {"application/xml"}
    assert set(operation(site, "hooks/key")["requestBody"]["content"]) == {"application/octet-stream"}


def test_a_module_may_have_any_name(make_site: MakeSite) -> None:
    site = make_site(CONFIG.replace("  any:\n", "  executions:\n").replace("      both:", "      a.b:"))
    found = document(site)
    names = [tag["name"] for tag in found["tags"]]
    assert len(set(names)) == len(names)
    validate(found)


# What it does not say


SECRETS = """\
docs: public
redis: redis://:redis-canary-9@127.0.0.1:1/0
operators: {admin: operator-canary-1}
workflows:
  hello: {python: examples.hello:greet, description: hello}
modules:
  m:
    methods:
      token:
        enabled: true
        auth: {mode: token, tokens: {ci: token-canary-2, other: "${TOKEN}"}}
        workflow: hello
        input:
          unknown: keep
          fields:
            card: {type: string, secret: true, default: default-canary-3, description: A card}
            kind: {type: string, secret: true, enum: [choice-canary-4, other]}
            deep: {type: object, fields: {pins: {type: list, of: {type: integer, secret: true}}}}
        debug:
          card: debug-canary-5
          deep: {pins: [77001234]}
          said: the token is token-canary-2
          outside: "${OUTSIDE}"
          operator: operator-canary-1
          plain: shown
      password:
        enabled: true
        auth: {mode: password, users: {ada: password-canary-7}}
        workflow: hello
        debug: {word: password-canary-7}
"""


def test_no_secret_of_the_config_is_in_it(make_site: MakeSite) -> None:
    environ = {"TOKEN": "t0ken-canary-8", "OUTSIDE": "out"}
    site = make_site(SECRETS, **environ)
    text = site.call(PATH, "GET").text
    assert "canary" not in text
    assert "77001234" not in text
    (example,) = operation(site, "m/token")["requestBody"]["content"]["application/json"]["examples"].values()
    assert example["value"] == {
        "card": "***",
        "deep": {"pins": ["***"]},
        "said": "the token is ***",
        "outside": "***",
        "operator": "***",
        "plain": "shown",
    }


def test_what_a_reference_gives_by_its_default_is_no_secret(make_site: MakeSite) -> None:
    site = make_site(SECRETS.replace("${OUTSIDE}", "${OUTSIDE:-inside}"), TOKEN="t0ken-canary-8")
    (example,) = operation(site, "m/token")["requestBody"]["content"]["application/json"]["examples"].values()
    assert example["value"]["outside"] == "inside"


# Who may read it


@pytest.fixture(scope="module")
def sites(make_site: MakeSite) -> dict[str, Site]:
    """The app with each value that `docs` may have."""
    return {docs: make_site(CONFIG.replace("docs: public", f"docs: {docs}")) for docs in ("operators", "off")}


@pytest.mark.parametrize("path", PATHS)
def test_for_operators_it_asks_who_they_are(sites: dict[str, Site], redis: Redis, path: str) -> None:
    site = sites["operators"]
    answer = seen(site.call(path, "GET"))
    assert refusal(answer) == Refusal(401, "requestError.invalidParams", "User/Password is required")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert site.call(path, "GET", headers=ADMIN).status_code == 200
    wrong = refusal(site.call(path, "GET", headers=basic("ada", TOKEN)))
    assert wrong == Refusal(401, "requestError.unauthorized", "User/Password is invalid")
    assert refusal(site.call(path, "GET", headers={"token": OTHER_TOKEN})).status == 401


def test_operators_are_the_default(make_site: MakeSite) -> None:
    site = make_site(CONFIG.replace("docs: public\n", ""))
    assert refusal(site.call(PATH, "GET")).status == 401


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_off_is_as_if_there_were_nothing(sites: dict[str, Site], redis: Redis, path: str, method: str) -> None:
    answer = sites["off"].call(path, method, headers=ADMIN)
    assert answer.status_code == 404
    if method != "HEAD":
        assert refusal(answer) == NOTHING


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO"])
def test_only_get_is_answered(described: Site, path: str, method: str) -> None:
    answer = seen(described.call(path, method))
    assert refusal(answer) == Refusal(405, "requestError.methodNotAllowed", "Only GET is answered here")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/docs/", "/docs/x.js", "/docs/index.html", "/docs/swagger-ui.js", "/docs/oauth2-redirect.html",
        "/docs/../docs", "/docs/..%2Fdocument.py", "/docs/page/start.js", "/openapi.yaml", "/openapi.json/", "//docs",
    ],
)  # fmt: skip
def test_there_is_nothing_else(described: Site, path: str) -> None:
    assert refusal(described.call(path, "GET")) == NOTHING


# How it is answered


@pytest.mark.parametrize("path", PATHS)
def test_who_has_it_is_told_that_it_is_the_same(described: Site, path: str) -> None:
    first = seen(described.call(path, "GET"))
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    etag = first.headers["etag"]
    again = described.call(path, "GET", headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert described.call(path, "GET", headers={"If-None-Match": '"other"'}).data == first.body


@pytest.mark.parametrize("path", PATHS)
def test_it_is_compressed_for_who_takes_that(described: Site, path: str) -> None:
    plain = described.call(path, "GET")
    packed = described.call(path, "GET", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert described.call(path, "GET", headers={"Accept-Encoding": "gzip;q=0"}).data == plain.data


@pytest.mark.parametrize("path", PATHS)
def test_head_gets_the_same_without_the_body(described: Site, path: str) -> None:
    got, head = described.call(path, "GET"), described.call(path, "HEAD")
    assert (head.status_code, head.data) == (200, b"")
    ids = head.headers.pop("X-Request-Id"), got.headers.pop("X-Request-Id")
    assert ids[0] != ids[1]
    assert dict(head.headers) == dict(got.headers)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of the configs of which a document was made."""
    digests: list[str] = []
    real = made_by.pieces

    def pieces(config: Config) -> Iterator[bytes]:
        digests.append(config.digest)
        return real(config)

    monkeypatch.setattr("trigger.web.docs.pieces", pieces)
    return digests


def test_it_is_made_at_the_first_request_and_once_for_each_version(
    make_site: MakeSite, redis: Redis, made: list[str]
) -> None:
    site = make_site(CONFIG)
    assert site.call("all/types", json={"word": "x"}).status_code == 202
    assert made == []
    tags = [site.call(PATH, "GET").headers["ETag"] for _ in range(2)]
    assert len(made) == 1
    site.edit("Every kind of field", "All kinds of fields")
    tags += [site.call(PATH, "GET").headers["ETag"] for _ in range(2)]
    assert len(made) == 2
    assert tags[0] == tags[1] != tags[2] == tags[3]


def test_it_is_made_once_for_all_who_wait_for_it(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(CONFIG)
    go_on = threading.Event()
    waiting = []

    def pieces(config: Config) -> Iterator[bytes]:
        waiting.append(config)
        go_on.wait(20)
        yield b"{}"

    monkeypatch.setattr("trigger.web.docs.pieces", pieces)
    answers: list[TestResponse] = []

    def ask() -> None:
        answers.append(site.call(PATH, "GET"))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: waiting)
    assert answers == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len(waiting) == 1


# The page


def test_the_page_is_made_of_what_is_served_here_and_nothing_in_it_is_inline(described: Site) -> None:
    answer = described.call("/docs", "GET")
    assert answer.content_type == "text/html; charset=utf-8"
    links = [part.partition('"')[0] for mark in ('src="', 'href="') for part in answer.text.split(mark)[1:]]
    assert len(links) == 11
    for link in links:
        assert described.call(link, "GET").status_code == (303 if link == "/console/" else 200), link
    assert "<script>" not in answer.text
    assert "<style" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("start.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
def test_an_asset_says_what_it_is(described: Site, name: str, media_type: str) -> None:
    assert described.call(f"/docs/{name}", "GET").content_type == media_type


@pytest.mark.parametrize(("operators", "is_there"), [("operators: {ada: 0perator-of-the-tests}\n", True), ("", False)])
def test_the_page_leads_back_to_the_console_where_there_is_one(
    make_site: MakeSite, redis: Redis, operators: str, is_there: bool
) -> None:
    site = make_site(f"docs: public\n{operators}modules: {{}}\n")
    page = site.call("/docs", "GET").text
    assert ('<a href="/console/">Console</a>' in page) is is_there
