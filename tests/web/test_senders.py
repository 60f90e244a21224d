"""Every sender of docs/senders.md is connected by its recipe there, and nobody else is.

Requests are as the senders make them. They are signed by the senders' own libraries, or here, from their documentation.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import stripe
from slack_sdk.signature import SignatureVerifier
from werkzeug.test import TestResponse

from tests.config.editors import errors
from tests.support import ROOT
from tests.test_docs import blocks
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site, address, basic
from trigger import templates

PAGE = ROOT / "docs" / "senders.md"
RECIPES = {text.partition(":")[0]: text for text in blocks(PAGE, "yaml")}
HOST = "https://trigger.example.org/v1/api/hooks"  # as in the recipes that sign a URL
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
XML = {"Content-Type": "text/xml; charset=utf-8"}
NOW = time.time()
SECONDS = str(int(NOW))
ISO = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True)
class Sent:
    """A request. Its headers have its credential, or the end of its path."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    verb: str = "POST"
    query: str = ""
    token: str = ""


Sign = Callable[[str, Sent], Sent]  # with a secret


@dataclass(frozen=True)
class Handshake:
    """What a sender asks before all else, and the answer that it takes. `sign`: None where it can't sign yet."""

    sent: Sent
    body: str | Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    sign: bool = False


@dataclass(frozen=True)
class Row:
    """A sender: its recipe, a request of it, how it proves itself, and what becomes of it.

    `arrives` is in the input, `headers` in the record; `status` is the answer; `once`: a second delivery is recognised.
    """

    sender: str
    api: str
    sent: Sent
    sign: Sign
    arrives: Any
    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    handshake: Handshake | None = None


def digest(secret: str, what: bytes, name: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), what, getattr(hashlib, name)).digest()


def with_(sent: Sent, **headers: str) -> Sent:
    return replace(sent, headers={**sent.headers, **{name.replace("_", "-"): value for name, value in headers.items()}})


def hexed(header: str, prefix: str = "", signed: str = "{body}", name: str = "sha256") -> Sign:
    """A signature in hex; `signed` has {body} and names of headers."""
    return lambda secret, sent: with_(sent, **{header: prefix + digest(secret, parts(signed, sent), name).hex()})


def based(header: str, prefix: str = "", signed: str = "{body}", name: str = "sha256") -> Sign:
    """Likewise, in base64."""

    def sign(secret: str, sent: Sent) -> Sent:
        return with_(sent, **{header: prefix + base64.b64encode(digest(secret, parts(signed, sent), name)).decode()})

    return sign


def parts(signed: str, sent: Sent) -> bytes:
    return b"".join(
        sent.body if word == "{body}" else sent.headers.get(word.strip("{}"), word).encode()
        for word in re.split(r"(\{[^}]+\})", signed)
    )


def in_header(name: str, before: str = "") -> Sign:
    return lambda secret, sent: with_(sent, **{name: before + secret})


def in_path(secret: str, sent: Sent) -> Sent:
    return replace(sent, token=secret)


def by_password(user: str) -> Sign:
    return lambda secret, sent: with_(sent, **basic(user, secret))


def by_stripe(secret: str, sent: Sent) -> Sent:
    made = stripe.WebhookSignature._compute_signature(f"{SECONDS}.{sent.body.decode()}", secret)
    return with_(sent, Stripe_Signature=f"t={SECONDS},v1={made},v0=" + "0" * 64)


def by_slack(secret: str, sent: Sent) -> Sent:
    made = SignatureVerifier(secret).generate_signature(timestamp=SECONDS, body=sent.body)
    return with_(sent, X_Slack_Request_Timestamp=SECONDS, X_Slack_Signature=str(made))


def by_standard(secret: str, sent: Sent) -> Sent:
    made = standardwebhooks.Webhook(secret).sign("msg_1", datetime.fromtimestamp(NOW, UTC), sent.body.decode())
    return with_(sent, webhook_id="msg_1", webhook_timestamp=SECONDS, webhook_signature=made)


bearer = in_header("Authorization", "Bearer ")


def of(value: Any, **headers: str) -> Sent:
    """A POST of JSON."""
    return with_(Sent(json.dumps(value).encode(), JSON), **headers)


def form(body: str, **headers: str) -> Sent:
    return with_(Sent(body.encode(), FORM), **headers)


def multipart(**fields: tuple[str, str]) -> Sent:
    """A form; each field has its headers and its content."""
    made = "".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{content}\r\n'
        for name, (more, content) in fields.items()
    )
    return Sent(f"{made}--xyz--\r\n".encode(), {"Content-Type": "multipart/form-data; boundary=xyz"})


PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "ada/shop"}}
SUBSCRIBE = (
    "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:T&Token=2336"
)
SNS = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-id": "165545c9"}
TWITCH = {"Twitch-Eventsub-Message-Id": "e76c6bd4", "Twitch-Eventsub-Message-Timestamp": f"{ISO}.634234626Z"}
GRID = "Microsoft.EventGrid"
ZOOM_TIME = {"x-zm-request-timestamp": SECONDS}
GITHUB = hexed("X-Hub-Signature-256", "sha256=")
FILE = '; filename="a.jpg"\r\nContent-Type: image/jpeg'

ROWS = (
    Row(
        "GitHub JSON",
        "github",
        of(PUSH, X_GitHub_Event="push", X_GitHub_Delivery="72d3162e-cc78"),
        GITHUB,
        PUSH,
        headers={"event": "push"},
        once=True,
        handshake=Handshake(of({"zen": "Speak like a human."}, X_GitHub_Event="ping"), "", sign=True),
    ),
    Row(
        "GitHub form",
        "github_form",
        form(
            "payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D",
            X_GitHub_Event="push",
            X_GitHub_Delivery="72d3",
        ),
        GITHUB,
        {"ref": "refs/heads/main"},
        once=True,
        handshake=Handshake(form("payload=%7B%22zen%22%3A%22x%22%7D", X_GitHub_Event="ping"), "", sign=True),
    ),
    Row(
        "GitLab",
        "gitlab",
        of({"object_kind": "push"}, X_Gitlab_Event="Push Hook", Idempotency_Key="f5e5f430-f57b"),
        in_header("X-Gitlab-Token"),
        {"object_kind": "push"},
        headers={"event": "Push Hook"},
        once=True,
    ),
    Row(
        "Gitea",
        "gitea",
        of(PUSH, X_Gitea_Event="push", X_Gitea_Delivery="f6266f16-1bf3", X_GitHub_Event="push"),
        hexed("X-Gitea-Signature"),
        PUSH,
        once=True,
    ),
    Row(
        "Forgejo",
        "gitea",
        of(PUSH, X_Forgejo_Event="push", X_Gitea_Event="push", X_Gitea_Delivery="f6266f16-1bf4"),
        hexed("X-Gitea-Signature"),
        PUSH,
        once=True,
    ),
    Row(
        "Bitbucket",
        "bitbucket",
        of({"push": {}}, X_Event_Key="repo:push", X_Request_UUID="66b3", X_Attempt_Number="1"),
        hexed("X-Hub-Signature", "sha256="),
        {"push": {}},
        headers={"event": "repo:push"},
        once=True,
    ),
    Row(
        "Stripe",
        "stripe",
        replace(
            of({"id": "evt_1", "type": "charge.succeeded"}), headers={"Content-Type": "application/json; charset=utf-8"}
        ),
        by_stripe,
        {"id": "evt_1"},
        once=True,
    ),
    Row(
        "Shopify",
        "shopify",
        of({"id": 820982911946154508}, X_Shopify_Topic="orders/create", X_Shopify_Event_Id="98880550-7158"),
        based("X-Shopify-Hmac-Sha256"),
        {"id": 820982911946154508},
        headers={"topic": "orders/create"},
        once=True,
    ),
    Row(
        "Linear",
        "linear",
        of({"action": "create", "type": "Issue"}, Linear_Delivery="234d1a4e", Linear_Event="Issue"),
        hexed("Linear-Signature"),
        {"type": "Issue"},
        200,
        once=True,
    ),
    Row(
        "Sentry",
        "sentry",
        of({"action": "created"}, Sentry_Hook_Resource="issue", Request_ID="8ccc9b9c", Sentry_Hook_Timestamp=SECONDS),
        hexed("Sentry-Hook-Signature"),
        {"action": "created"},
        headers={"resource": "issue"},
        once=True,
    ),
    Row(
        "Terraform Cloud",
        "terraform",
        of({"run_id": "run-1", "notifications": [{"trigger": "run:completed"}]}),
        hexed("X-TFE-Notification-Signature", name="sha512"),
        {"run_id": "run-1"},
        handshake=Handshake(
            of({"run_id": None, "notifications": [{"trigger": "verification"}]}),
            {"response": {"ignored": True}},
            sign=True,
        ),
    ),
    Row(
        "HubSpot",
        "hubspot",
        of([{"eventId": 1, "subscriptionType": "contact.creation"}], X_HubSpot_Request_Timestamp=f"{SECONDS}123"),
        based("X-HubSpot-Signature-v3", signed=f"POST{HOST}/hubspot/async{{body}}{{X-HubSpot-Request-Timestamp}}"),
        [{"eventId": 1}],
    ),
    Row(
        "Typeform",
        "typeform",
        of({"event_id": "LtWXD3crgy", "event_type": "form_response"}),
        based("Typeform-Signature", "sha256="),
        {"event_id": "LtWXD3crgy"},
        once=True,
    ),
    Row(
        "Zendesk",
        "zendesk",
        of(
            {"type": "zen:event-type:ticket.created"},
            X_Zendesk_Webhook_Signature_Timestamp=f"{ISO}Z",
            X_Zendesk_Webhook_Invocation_Id="01F1KRFQ6BTK",
        ),
        based("X-Zendesk-Webhook-Signature", signed="{X-Zendesk-Webhook-Signature-Timestamp}{body}"),
        {"type": "zen:event-type:ticket.created"},
        once=True,
    ),
    Row(
        "WooCommerce",
        "woocommerce",
        of({"id": 727, "status": "processing"}, X_WC_Webhook_Topic="order.created", X_WC_Webhook_Delivery_ID="d41d"),
        based("X-WC-Webhook-Signature"),
        {"id": 727},
        headers={"topic": "order.created"},
        once=True,
        handshake=Handshake(form("webhook_id=7"), ""),
    ),
    Row("Standard Webhooks", "standard", of({"event_type": "ping"}), by_standard, {"event_type": "ping"}, once=True),
    Row(
        "Slack events",
        "slack_events",
        of({"type": "event_callback", "event_id": "Ev08MFMKH6"}),
        by_slack,
        {"event_id": "Ev08MFMKH6"},
        once=True,
        handshake=Handshake(of({"type": "url_verification", "challenge": "3eZbrw1aBm2r"}), "3eZbrw1aBm2r", sign=True),
    ),
    Row(
        "Slack commands",
        "slack_commands",
        form("command=%2Fweather&text=94070"),
        by_slack,
        {"command": "/weather", "text": "94070"},
        200,
    ),
    Row(
        "Slack buttons",
        "slack_commands",
        form("payload=%7B%22type%22%3A%22block_actions%22%7D"),
        by_slack,
        {"type": "block_actions"},
        200,
    ),
    Row(
        "Meta",
        "meta",
        of({"object": "page", "entry": [{"id": "1"}]}),
        GITHUB,
        {"object": "page"},
        200,
        handshake=Handshake(
            Sent(verb="GET", query="hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=VERIFY"), "1158201444"
        ),
    ),
    Row(
        "Dropbox",
        "dropbox",
        of({"list_folder": {"accounts": ["dbid:AAH4"]}}),
        hexed("X-Dropbox-Signature"),
        {"list_folder": {"accounts": ["dbid:AAH4"]}},
        handshake=Handshake(Sent(verb="GET", query="challenge=uUm6zrTgAYU4"), "uUm6zrTgAYU4"),
    ),
    Row(
        "Twitch",
        "twitch",
        of({"event": {"user_name": "cool"}}, **TWITCH, Twitch_Eventsub_Message_Type="notification"),
        hexed(
            "Twitch-Eventsub-Message-Signature",
            "sha256=",
            "{Twitch-Eventsub-Message-Id}{Twitch-Eventsub-Message-Timestamp}{body}",
        ),
        {"event": {"user_name": "cool"}},
        once=True,
        handshake=Handshake(
            of({"challenge": "pogchamp"}, **TWITCH, Twitch_Eventsub_Message_Type="webhook_callback_verification"),
            "pogchamp",
            sign=True,
        ),
    ),
    Row(
        "Zoom",
        "zoom",
        of({"event": "meeting.started", "payload": {}}, **ZOOM_TIME),
        hexed("x-zm-signature", "v0=", "v0:{x-zm-request-timestamp}:{body}"),
        {"event": "meeting.started"},
        handshake=Handshake(
            of({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZ"}}, **ZOOM_TIME),
            {"plainToken": "qgg8vlvZ", "encryptedToken": "HMAC of qgg8vlvZ"},
            sign=True,
        ),
    ),
    Row(
        "Asana",
        "asana",
        of({"events": [{"action": "changed"}]}),
        hexed("X-Hook-Signature"),
        {"events": [{"action": "changed"}]},
        handshake=Handshake(of({}, X_Hook_Secret="b537207f20cbfa02"), "", {"X-Hook-Secret": "b537207f20cbfa02"}),
    ),
    Row(
        "MS Graph",
        "msgraph",
        of({"value": [{"subscriptionId": "7f1"}]}),
        in_path,
        {"value": [{"subscriptionId": "7f1"}]},
        handshake=Handshake(
            Sent(headers={"Content-Type": "text/plain; charset=utf-8"}, query="validationToken=Validation%3A%20abc"),
            "Validation: abc",
            sign=True,
        ),
    ),
    Row(
        "Event Grid",
        "eventgrid",
        of([{"id": "1", "eventType": "Microsoft.Storage.BlobCreated"}], aeg_event_type="Notification"),
        in_path,
        [{"id": "1"}],
        headers={"type": "Notification"},
        handshake=Handshake(
            of(
                [
                    {
                        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
                        "data": {"validationCode": "512d38b6"},
                    }
                ],
                aeg_event_type="SubscriptionValidation",
            ),
            {"validationResponse": "512d38b6"},
            sign=True,
        ),
    ),
    Row(
        "CloudEvents, binary",
        "cloudevents",
        of({"sku": "A1"}, ce_id="1", ce_source="/shop", ce_type="order", ce_specversion="1.0"),
        bearer,
        {"sku": "A1"},
        headers={"id": "1", "source": "/shop", "type": "order"},
        handshake=Handshake(
            Sent(verb="OPTIONS", headers={"WebHook-Request-Origin": "eventemitter.example.com"}),
            "",
            {"WebHook-Allowed-Origin": "eventemitter.example.com"},
        ),
    ),
    Row(
        "CloudEvents, structured",
        "cloudevents",
        replace(
            of({"specversion": "1.0", "id": "1", "data": {"sku": "A1"}}),
            headers={"Content-Type": "application/cloudevents+json; charset=UTF-8"},
        ),
        bearer,
        {"data": {"sku": "A1"}},
    ),
    Row(
        "AWS SNS",
        "sns",
        Sent(b'{"Type": "Notification", "Message": "disk full"}', {**SNS, "x-amz-sns-message-type": "Notification"}),
        by_password("sns"),
        {"Message": "disk full"},
        handshake=Handshake(
            Sent(
                json.dumps({"Type": "SubscriptionConfirmation", "SubscribeURL": SUBSCRIBE}).encode(),
                {**SNS, "x-amz-sns-message-type": "SubscriptionConfirmation"},
            ),
            "",
            sign=True,
        ),
    ),
    Row(
        "Google Pub/Sub",
        "pubsub",
        of({"message": {"data": "SGVsbG8=", "messageId": "2070443601311540"}}, Authorization="Bearer of.google.s"),
        in_path,
        {"message": {"data": "SGVsbG8="}},
    ),
    Row(
        "Google Drive",
        "drive",
        Sent(headers={"X-Goog-Resource-State": "update", "X-Goog-Message-Number": "10", "Content-Length": "0"}),
        in_header("X-Goog-Channel-Token"),
        {},
        headers={"state": "update", "number": "10"},
        handshake=Handshake(
            Sent(headers={"X-Goog-Resource-State": "sync", "Content-Length": "0"}),
            {"response": {"ignored": True}},
            sign=True,
        ),
    ),
    Row("Docker Hub", "docker_hub", of({"push_data": {"tag": "latest"}}), in_path, {"push_data": {"tag": "latest"}}),
    Row("simple callers", "url_only", Sent(verb="GET", query="sku=A1"), in_path, {"sku": "A1"}),
    Row("Grafana, PUT", "grafana", replace(of({"status": "firing"}), verb="PUT"), bearer, {"status": "firing"}),
    Row("Grafana, POST", "grafana", of({"status": "firing"}), bearer, {"status": "firing"}),
    Row(
        "healthchecks",
        "healthchecks",
        Sent(b'{"name": "backup"}', {"Content-Type": "text/plain"}, "PUT"),
        bearer,
        {"name": "backup"},
    ),
    Row(
        "Sonarr", "sonarr", replace(of({"eventType": "Grab"}), verb="PUT"), by_password("sonarr"), {"eventType": "Grab"}
    ),
    Row("Uptime Kuma, JSON", "uptime_kuma", of({"heartbeat": {"status": 0}}), bearer, {"heartbeat": {"status": 0}}),
    Row(
        "Uptime Kuma, form",
        "uptime_kuma",
        multipart(data=("", '{"msg": "down"}')),
        bearer,
        {"data": '{"msg": "down"}'},
    ),
    Row(
        "Plex",
        "plex",
        multipart(payload=("\r\nContent-Type: application/json", '{"event": "media.play"}'), thumb=(FILE, "\xff\xd8")),
        in_path,
        {"event": "media.play"},
    ),
    Row(
        "Jellyfin",
        "jellyfin",
        Sent(b'{"NotificationType": "PlaybackStart"}', {"Content-Type": "text/plain; charset=utf-8"}),
        bearer,
        {"NotificationType": "PlaybackStart"},
    ),
    Row("Mailgun, form", "mailgun", form("sender=ada%40example.org&subject=Hi"), in_path, {"subject": "Hi"}),
    Row(
        "Mailgun, with a file",
        "mailgun",
        multipart(**{"subject": ("", "Hi"), "attachment-1": (FILE, "\xff\xd8")}),
        in_path,
        {"subject": "Hi"},
    ),
    Row(
        "Home Assistant",
        "home_assistant",
        Sent(b'{"state": "on"}', {"Content-Type": "application/octet-stream"}),
        in_header("token"),
        {"state": "on"},
    ),
    Row(
        "sendBeacon",
        "beacon",
        Sent(
            b'{"left": "/cart"}',
            {
                "Content-Type": "text/plain;charset=UTF-8",
                "Origin": "https://shop.example.org",
                "Sec-Fetch-Site": "cross-site",
            },
        ),
        in_path,
        {"left": "/cart"},
        204,
    ),
    Row(
        "Trello",
        "trello",
        of({"action": {"id": "51f9424bcd6e040f3c002412", "type": "updateCard"}}),
        based("X-Trello-Webhook", signed=f"{{body}}{HOST}/trello/async", name="sha1"),
        {"action": {"type": "updateCard"}},
        once=True,
        handshake=Handshake(Sent(verb="HEAD"), ""),
    ),
    Row("Telegram", "telegram", of({"update_id": 1}), in_header("X-Telegram-Bot-Api-Secret-Token"), {"update_id": 1}),
    Row("X-API-Key callers", "api_key", of({"sku": "A1"}), in_header("X-API-Key"), {"sku": "A1"}),
    Row(
        "Twilio",
        "twilio",
        form("MessageSid=SM1&Body=Hello&From=%2B14017122661", X_Twilio_Signature="RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        by_password("twilio"),
        {"Body": "Hello", "From": "+14017122661"},
        204,
    ),
    Row(
        "Vector",
        "logs",
        Sent(
            gzip.compress(b'{"message":"a"}\n{"message":"b"}\n'),
            {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        ),
        bearer,
        [{"message": "a"}, {"message": "b"}],
    ),
    Row("Logstash", "logs", of({"message": "a"}), bearer, [{"message": "a"}]),
    Row(
        "Fluent Bit",
        "logs",
        Sent(b'{"date":1764000000.5,"log":"a"}\n{"date":1764000000.6,"log":"b"}\n', JSON),
        bearer,
        [{"log": "a"}, {"log": "b"}],
    ),
    Row(
        "Jenkins",
        "jenkins",
        Sent(b"<job><name>shop</name><build><number>7</number></build></job>", {"Content-Type": "application/xml"}),
        in_path,
        {"job": {"name": "shop", "build": {"number": "7"}}},
    ),
    Row("Nagios", "nagios", Sent(b"disk full on db1", FORM), in_header("token"), "disk full on db1"),
    Row(
        "SOAP",
        "soap",
        Sent(
            b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
            b"<s:Body><Stock><Sku>A1</Sku></Stock></s:Body></s:Envelope>",
            {**XML, "SOAPAction": '"urn:stock"'},
        ),
        by_password("soap"),
        {"s:Envelope": {"s:Body": {"Stock": {"Sku": "A1"}}}},
        200,
        headers={"action": '"urn:stock"'},
    ),
    Row(
        "Apache HttpClient, ISO-8859-1",
        "programs",
        Sent('{"name": "Zoë"}'.encode("latin-1"), {"Content-Type": "application/json; charset=ISO-8859-1"}),
        in_header("token"),
        {"name": "Zoë"},
    ),
    Row(
        "Apache HttpClient, us-ascii",
        "programs",
        Sent(b'{"name": "Zoe"}', {"Content-Type": "application/json; charset=us-ascii"}),
        in_header("token"),
        {"name": "Zoe"},
    ),
    Row(
        "Docker registry",
        "registry",
        Sent(
            b'{"events": [{"id": "320678d8", "action": "push"}]}',
            {"Content-Type": "application/vnd.docker.distribution.events.v1+json"},
        ),
        bearer,
        {"events": [{"action": "push"}]},
    ),
    Row("Alertmanager", "alertmanager", of({"version": "4", "status": "firing"}), bearer, {"status": "firing"}),
    Row("cron-job.org", "programs", Sent(verb="GET"), in_header("token"), {}),
    Row(
        "Jira",
        "jira",
        of({"webhookEvent": "jira:issue_updated"}, X_Atlassian_Webhook_Identifier="1631272990452"),
        hexed("X-Hub-Signature", "sha256="),
        {"webhookEvent": "jira:issue_updated"},
        once=True,
    ),
    Row(
        "PagerDuty",
        "pagerduty",
        of({"event": {"id": "01BZ", "event_type": "incident.triggered"}}),
        hexed("X-PagerDuty-Signature", "v1="),
        {"event": {"event_type": "incident.triggered"}},
        once=True,
    ),
    Row("curl", "programs", Sent(b'{"sku":"A1"}', FORM), in_header("token"), {"sku": "A1"}),
    Row("wget", "programs", form("sku=A1"), in_header("token"), {"sku": "A1"}),
    Row("PowerShell", "programs", of({"sku": "A1"}, Idempotency_Key="7"), in_header("token"), {"sku": "A1"}, once=True),
)
by_sender = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sender)


def variables(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\$\{(\w+)\}", text)))


def secret_of(variable: str, word: str = "right") -> str:
    """The value of a variable of the recipes; of any `word` but "right", a wrong one."""
    made = hashlib.sha256(f"{variable} {word}".encode()).hexdigest()
    if variable == "META_VERIFY":
        return "VERIFY"
    return "whsec_" + base64.b64encode(made[:32].encode()).decode() if variable == "STANDARD_SECRET" else made


def config_of(recipes: Mapping[str, str]) -> str:
    """The config that a person makes of recipes, as the page says."""
    lines = [
        f"operators: {{admin: {OPERATOR}}}",
        "workflows: {any: examples.hello:greet}",
        "modules:",
        "  hooks:",
        "    methods:",
    ]
    for text in recipes.values():
        first, *rest = text.splitlines()
        lines += [f"      {line}" for line in (first, "  enabled: true", "  workflow: any", *rest)]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def hooks(make_site: MakeSite) -> Site:
    names = {name for text in RECIPES.values() for name in variables(text)}
    return make_site(config_of(RECIPES), **{name: secret_of(name) for name in names})


def call(site: Site, row: Row, sent: Sent) -> TestResponse:
    site.client = address()
    end = f"/{sent.token}" if sent.token else ""
    return site.call(
        f"/v1/api/hooks/{row.api}/async{end}",
        sent.verb,
        query_string=sent.query,
        headers=dict(sent.headers),
        data=sent.body,
    )


def proven(row: Row, sent: Sent, word: str = "right") -> Sent:
    return row.sign(secret_of(variables(RECIPES[row.api])[0], word), sent)


def record_at(site: Site, location: str) -> dict[str, Any]:
    answer = site.call(location, "GET", headers=basic("admin", OPERATOR))
    record: dict[str, Any] = json.loads(answer.data)["response"]
    return record


def has(value: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; an object may have more."""
    if isinstance(wanted, Mapping):
        return isinstance(value, dict) and all(
            name in value and has(value[name], item) for name, item in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(has, value, wanted))
    return bool(value == wanted)


def test_every_recipe_is_of_a_sender() -> None:
    assert {row.api for row in ROWS} == RECIPES.keys()
    assert len({row.sender.partition(",")[0] for row in ROWS}) >= 45


def test_the_recipes_are_right_for_editors_and_nothing_in_them_is_warned_of_but_tokens_in_paths(hooks: Site) -> None:
    assert errors(config_of(RECIPES)) == []
    warned = [warning for warning in hooks.watcher.current.warnings if warning.key]
    assert all(warning.message.startswith("the token is in the path") for warning in warned)
    assert len(warned) == sum("in: path" in text for text in RECIPES.values())


@by_sender
def test_a_sender_is_connected(hooks: Site, row: Row) -> None:
    sent = proven(row, row.sent)
    answer = call(hooks, row, sent)
    assert answer.status_code == row.status, answer.data
    record = record_at(hooks, answer.headers["Location"])
    assert has(record["input"], row.arrives), record["input"]
    assert has(record.get("headers", {}), row.headers)

    again = call(hooks, row, sent)
    assert again.status_code == row.status
    assert (again.headers["Location"] == answer.headers["Location"]) == row.once
    assert ("Idempotency-Replayed" in again.headers) == row.once


@by_sender
def test_nobody_else_is(hooks: Site, row: Row) -> None:
    right, wrong = proven(row, row.sent), proven(row, row.sent, "wrong")
    assert call(hooks, row, wrong).status_code == 401
    credential = {name for name, value in right.headers.items() if wrong.headers[name] != value}
    assert credential or right.token
    bare = {name: value for name, value in right.headers.items() if name not in credential}
    assert call(hooks, row, replace(right, headers=bare, token="")).status_code == 401


def test_a_token_that_comes_two_ways_and_differs_is_refused_by_the_name_of_its_header(hooks: Site) -> None:
    row = next(row for row in ROWS if row.api == "api_key")
    answer = call(hooks, row, with_(proven(row, row.sent), Authorization="Bearer other"))
    assert answer.status_code == 400
    assert json.loads(answer.data)["response"]["error"]["message"] == (
        "The header X-Api-Key and Authorization: Bearer say different things; send one of them"
    )


@by_sender
def test_another_body_is_refused_where_it_is_signed(hooks: Site, row: Row) -> None:
    if "mode: signature" not in RECIPES[row.api] or row.api == "gitlab":
        return
    sent = proven(row, row.sent)
    assert call(hooks, row, replace(sent, body=sent.body + b" ")).status_code == 401


@by_sender
def test_a_handshake_is_answered_and_starts_nothing(hooks: Site, row: Row) -> None:
    asked = row.handshake
    if asked is None:
        return
    sent = proven(row, asked.sent) if asked.sign else asked.sent
    answer = call(hooks, row, sent)
    assert answer.status_code == (202 if asked.body == {"response": {"ignored": True}} else 200), answer.data
    wanted = asked.body
    if isinstance(wanted, str):
        assert answer.data.decode() == wanted
        assert answer.content_type == "text/plain; charset=utf-8"
    else:
        if "encryptedToken" in wanted:
            wanted = {**wanted, "encryptedToken": digest(secret_of("ZOOM_SECRET"), b"qgg8vlvZ").hex()}
        assert answer.json == wanted
    assert has(dict(answer.headers), asked.headers)
    assert "Location" not in answer.headers
    if asked.sign and "validationToken" not in asked.sent.query:
        assert call(hooks, row, proven(row, asked.sent, "wrong")).status_code == 401


def test_templates_read_what_is_coded_twice() -> None:
    read = {"Google Pub/Sub": "Hello", "Uptime Kuma, form": {"msg": "down"}}
    shown = re.findall(r"`(\{\{ [^`]+ \}\})`", PAGE.read_text())
    assert len(shown) == len(read)
    for row in ROWS:
        if row.sender in read:
            made = [templates.render(text, {"input": row.arrives}) for text in shown if row.api == of_section(text)]
            assert made == [read[row.sender]]


def of_section(text: str) -> str:
    """The recipe below a text of the page."""
    return PAGE.read_text().partition(text)[2].partition("```yaml\n")[2].partition(":")[0]


def test_what_amazon_asks_for_is_in_the_log_for_operators(hooks: Site, log: list[str]) -> None:
    row = next(row for row in ROWS if row.api == "sns")
    assert row.handshake
    call(hooks, row, proven(row, row.handshake.sent))
    assert any(SUBSCRIBE in line and "hooks/sns" in line for line in log)


def test_the_secret_that_asana_offers_is_not_in_the_log(hooks: Site, log: list[str]) -> None:
    row = next(row for row in ROWS if row.api == "asana")
    assert row.handshake
    call(hooks, row, row.handshake.sent)
    assert any("Asana offers a secret" in line for line in log)
    assert not any("b537207f20cbfa02" in line for line in log)
