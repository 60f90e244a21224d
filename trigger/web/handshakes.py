"""The handshakes by which senders make sure that an API is there. None of them starts an execution.

What is echoed is text, of a bounded length, that no browser takes for anything else.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response

from trigger.config.model import Api, Handshake, SignatureAuth
from trigger.errors import BadRequest, InvalidParams
from trigger.web.answers import bare, object_of, plain

if TYPE_CHECKING:
    from trigger.web.call import ReceivedCall

logger = logging.getLogger("trigger.handshakes")

# Characters of a challenge that is echoed; a longer one is none.
MAX_CHALLENGE = 2048
# What WooCommerce sends first.
_WEBHOOK_ID = re.compile(rb"webhook_id=[0-9]{1,20}")
_HOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")
# Only such a URL is shown to operators, as one that they may open: it leads to Amazon, and nowhere else.
_SUBSCRIBE_URL = re.compile(r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/\?[A-Za-z0-9=&:%._~-]{1,2000}")


def before(call: ReceivedCall, api: Api) -> Response | None:
    """Answer a handshake that carries no credential; None for any other call."""
    answer = _BEFORE.get(api.answer.handshake) if api.answer.handshake else None
    return answer(call, api) if answer else None


def after(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    """Answer a handshake whose caller is authenticated, and whose body stands for `value`; None for any other call."""
    answer = _AFTER.get(api.answer.handshake) if api.answer.handshake else None
    return answer(call, api, value) if answer else None


def _text(value: Any) -> str:
    """Return a challenge that may be echoed. Raises InvalidParams."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHALLENGE or not value.isprintable():
        raise InvalidParams(f"The challenge must be a text of at most {MAX_CHALLENGE} printable characters")
    return value


def _dropbox(call: ReceivedCall, api: Api) -> Response | None:
    challenge = call.args.get("challenge")
    return plain(_text(challenge)) if call.method == "GET" and challenge is not None else None


def _msgraph(call: ReceivedCall, api: Api) -> Response | None:
    token = call.args.get("validationToken")
    return plain(_text(token)) if call.method == "POST" and token is not None else None


def _meta(call: ReceivedCall, api: Api) -> Response | None:
    if call.method != "GET" or call.args.get("hub.mode") != "subscribe":
        return None
    wanted, given = api.answer.verify, call.args.get("hub.verify_token", "")
    if wanted is None or not wanted.matches(given.encode()):
        call.service.guard.count_wrong(api, call.client)
        raise BadRequest("The hub.verify_token is wrong", status=403)
    return plain(_text(call.args.get("hub.challenge")))


def _cloudevents(call: ReceivedCall, api: Api) -> Response | None:
    """As "HTTP 1.1 Web Hooks for Event Delivery" has it, section 4."""
    origin = call.headers.get("WebHook-Request-Origin")
    if call.method != "OPTIONS" or origin is None:
        return None
    rate = {"WebHook-Allowed-Rate": "*"} if "WebHook-Request-Rate" in call.headers else {}
    return bare(200, {"WebHook-Allowed-Origin": _text(origin), "Allow": ", ".join(api.verbs), **rate})


def _asana(call: ReceivedCall, api: Api) -> Response | None:
    """Asana gives the secret to whoever creates the webhook, too: it is never read from here."""
    secret = call.headers.get("X-Hook-Secret")
    if call.method != "POST" or secret is None:
        return None
    if not _HOOK_SECRET.fullmatch(secret):
        raise InvalidParams("The X-Hook-Secret must have 16 to 256 letters, digits, '_' and '-'")
    logger.info(
        "%s/%s: Asana offers a secret; it is also in the answer to the request that created the webhook, as "
        "X-Hook-Secret: put it under `secrets`",
        api.module,
        api.method,
    )
    return bare(200, {"X-Hook-Secret": secret})


def _woocommerce(call: ReceivedCall, api: Api) -> Response | None:
    """WooCommerce sends an unsigned form when a webhook is saved, and takes no answer but 200."""
    length = call.environ.get("CONTENT_LENGTH")
    if call.method != "POST" or not length or int(length) > 64 or not _WEBHOOK_ID.fullmatch(call.body()):
        return None
    return bare(200)


def _sns(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    kind = call.headers.get("x-amz-sns-message-type")
    if kind not in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return None
    url = value.get("SubscribeURL") if isinstance(value, Mapping) else None
    if not isinstance(url, str) or not _SUBSCRIBE_URL.fullmatch(url):
        raise InvalidParams("The SubscribeURL is none of Amazon SNS")
    asked = "asks for a confirmation" if kind == "SubscriptionConfirmation" else "has ended the subscription"
    logger.warning(
        "%s/%s: Amazon SNS %s; to subscribe, open this, if the topic is yours: %s", api.module, api.method, asked, url
    )
    return bare(200)


def _slack(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    is_asked = isinstance(value, Mapping) and value.get("type") == "url_verification"
    return plain(_text(value.get("challenge"))) if is_asked else None


def _github(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    return bare(200) if call.headers.get("X-GitHub-Event") == "ping" else None


def _twitch(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    kind = call.headers.get("Twitch-Eventsub-Message-Type")
    is_asked = kind == "webhook_callback_verification" and isinstance(value, Mapping)
    return plain(_text(value.get("challenge"))) if is_asked else None


def _zoom(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    if not isinstance(value, Mapping) or value.get("event") != "endpoint.url_validation":
        return None
    payload = value.get("payload")
    token = _text(payload.get("plainToken") if isinstance(payload, Mapping) else None)
    # Which secret Zoom wants to see is the one that it has signed with.
    secrets = api.auth.secrets if isinstance(api.auth, SignatureAuth) else {}
    secret = secrets.get(call.caller or "")
    if secret is None:
        raise InvalidParams("The handshake of zoom needs mode: signature, whose secret answers it")
    made = hmac.new(secret.reveal().encode(), token.encode(), hashlib.sha256).hexdigest()
    return object_of({"plainToken": token, "encryptedToken": made})


def _eventgrid(call: ReceivedCall, api: Api, value: Any) -> Response | None:
    event = value[0] if isinstance(value, list) and len(value) == 1 else None
    if not isinstance(event, Mapping) or event.get("eventType") != "Microsoft.EventGrid.SubscriptionValidationEvent":
        return None
    data = event.get("data")
    return object_of({"validationResponse": _text(data.get("validationCode") if isinstance(data, Mapping) else None)})


_BEFORE: Mapping[Handshake, Callable[[ReceivedCall, Api], Response | None]] = {
    "asana": _asana,
    "cloudevents": _cloudevents,
    "dropbox": _dropbox,
    "meta": _meta,
    "msgraph": _msgraph,
    "woocommerce": _woocommerce,
}
_AFTER: Mapping[Handshake, Callable[[ReceivedCall, Api, Any], Response | None]] = {
    "eventgrid": _eventgrid,
    "github": _github,
    "slack": _slack,
    "sns": _sns,
    "twitch": _twitch,
    "zoom": _zoom,
}
