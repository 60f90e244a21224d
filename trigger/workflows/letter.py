"""What a callback says of an execution, and to whom it is sent: made by the worker, which knows record and secrets.

The process that sends it gets it finished. Its headers follow Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from trigger.config.model import Callback, Mail
from trigger.logs import escaped
from trigger.signatures import SCHEMES, sign
from trigger.store import Record
from trigger.store.outcome import truncated

# How large, as JSON, each part that `include` names may be, in bytes, and how much is shown of a larger one.
PART, BEGINNING = 64 * 1024, 1_000
LINES = 50  # the last ones of its log
MESSAGE = 500  # characters of an error's message in a text for people

_FACTS = (
    *("uid", "module", "method", "workflow", "status", "created_at", "started_at", "ended_at", "attempt", "caller"),
    *("request_id", "debug", "rerun_of", "resumed_from"),
)
_SIGNS = {"succeeded": "white_check_mark", "failed": "warning", "cancelled": "no_entry_sign"}  # of ntfy


def facts_of(record: Record, include: Sequence[str], lines: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the data of a callback: what its record says, and the parts that are included, none too large."""
    shown = record.as_json(operator=False)
    told = {name: shown[name] for name in _FACTS if name in shown}
    told["error"] = shown["error"]
    parts = {**shown, "logs": list(lines)}
    return told | {name: _bounded(parts[name]) for name in include}


def facts_left(input_: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a callback where the record is no longer kept: what its end has noted."""
    module, _, method = str(input_.get("api") or "").partition("/")
    noted = {name: input_.get(name) for name in ("uid", "workflow", "status", "ended_at")}
    return {**noted, "module": module, "method": method, "error": None}


def text_of(facts: Mapping[str, Any]) -> str:
    """Return an end in one line, for people."""
    name, status = f"{facts['module']}/{facts['method']}", facts["status"]
    error = facts["error"] or {}
    step = f" in step {error['step']}" if error.get("step") else ""
    said = {"cancelled": "was cancelled"}.get(status, status)
    why = ""
    if error:
        message = " ".join(str(error.get("message", "")).split())
        message = message if len(message) <= MESSAGE else f"{message[: MESSAGE - 1]}…"
        why = f": {message}" if status == "cancelled" else f": {error.get('class')}: {message}"
    return escaped(f"{name} {said}{step}{why} (uid {facts['uid']})")


def letter(callback: Callback, facts: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what the process that sends it needs: {"url", "headers", "body"}, or {"smtp", "from", "to", "mail"}, and
    whether any address will do. `now` is when it is signed, in seconds since 1970."""
    text = text_of(facts)
    any_address = {"any": callback.addresses == "any"}
    delivery = f"{facts['uid']}.{facts['status']}"
    if callback.mail is not None:
        return any_address | {
            "smtp": callback.mail.smtp.reveal(),
            "from": callback.mail.sender,
            "to": list(callback.mail.to),
            "mail": _mail(callback.mail, delivery, text, facts),
        }
    body, headers = _written(callback, text, facts)
    for index, secret in enumerate(callback.secrets):
        made = sign(SCHEMES["standard"], secret.reveal(), body.encode(), now=now, delivery=delivery)
        for name, value in made.items():
            more = index and name == SCHEMES["standard"].header
            headers[name] = f"{headers[name]} {value}" if more else value
    if not callback.secrets and callback.format == "standard":
        headers |= {"webhook-id": delivery, "webhook-timestamp": str(int(now))}
    url = callback.url.reveal() if callback.url is not None else ""
    return any_address | {"url": url, "headers": headers, "body": body}


def _written(callback: Callback, text: str, facts: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The body and the headers that a format asks for."""
    title = f"{facts['module']}/{facts['method']} {facts['status']}"
    match callback.format:
        case "ntfy":
            tags = _SIGNS.get(facts["status"], "")
            return text, {"Content-Type": "text/plain; charset=utf-8", "Title": title, "Tags": tags}
        case "slack":
            # What Slack takes for its own marks; and nobody is called by what an error repeats.
            for mark, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
                text = text.replace(mark, harmless)
            said: Mapping[str, Any] = {"text": text}
        case "gotify":
            said = {"title": title, "message": text, "priority": 8 if facts["status"] == "failed" else 4}
        case _:
            kind = f"execution.{facts['status']}"
            said = {"type": kind, "timestamp": facts["ended_at"], "data": facts, "text": text}
    written = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace").decode()
    return written, {"Content-Type": "application/json"}


def _mail(mail: Mail, delivery: str, text: str, facts: Mapping[str, Any]) -> str:
    """The mail as it is sent, in ASCII. One that is sent twice has the same Message-ID."""
    made = EmailMessage(policy=SMTP)
    made["From"] = Address(addr_spec=mail.sender)
    made["To"] = [Address(addr_spec=address) for address in mail.to]
    made["Subject"] = f"{facts['module']}/{facts['method']} {facts['status']}"
    made["Message-ID"] = f"<{delivery}@{mail.sender.partition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # so that nobody's vacation answers it (RFC 3834)
    shown = json.dumps(facts, ensure_ascii=False, indent=2).encode("utf-8", "replace").decode()
    made.set_content(f"{text}\n\n{shown}\n", cte="base64")
    return made.as_bytes().decode("ascii")


def _bounded(value: Any) -> Any:
    """A part, or the marker that stands for one that is too large."""
    text = json.dumps(value, ensure_ascii=False)
    size = len(text.encode("utf-8", "replace"))
    return value if size <= PART else json.loads(truncated(size, text[:BEGINNING]))
