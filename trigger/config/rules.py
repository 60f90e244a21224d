"""The rules that concern several keys of the config together."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from trigger import templates
from trigger.config.document import Document
from trigger.config.limits import TOGETHER
from trigger.config.model import CALLBACK, Answer, Files, NoAuth, ServerConfig, SignatureAuth, TokenAuth
from trigger.config.names import REFERENCE_FORM, reference
from trigger.config.parts import MAX_CANDIDATES, did_you_mean
from trigger.config.scalars import shown
from trigger.config.secret import Secret
from trigger.config.step_rules import LISTS, check_steps, wrong_header
from trigger.fields.model import Field

# The paths that the service answers itself, with all below them.
RESERVED = ("/v1/executions", "/healthz", "/readyz", "/console", "/docs", "/openapi.json", "/metrics")
# What stands in a path as it is, without percent escapes, and is not taken for a step up (RFC 3986, section 2.3).
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")
MAX_SUGGESTIONS = 50  # each looks through all the workflows' names

Path = tuple[Hashable, ...]


def apis_of(data: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Module, method and declaration of each API in the loaded data."""
    return [
        (module, method, api)
        for module, declared in (data.get("modules") or {}).items()
        for method, api in (declared.get("methods") or {}).items()
    ]


def steps_of(name: str, workflow: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each step that the schema let through, or what is valid of it, with its place."""
    for key in LISTS:
        for index, step in enumerate(workflow.get(key) or ()):
            if isinstance(step, dict):
                yield ("workflows", name, key, index), step


def _fields(data: Mapping[str, Any]) -> dict[str, frozenset[str] | None]:
    """By workflow with steps: the fields that its APIs together let an input have; None when it may have any."""
    found: dict[str, frozenset[str] | None] = {}
    of_steps = {name for name, workflow in (data.get("workflows") or {}).items() if "steps" in workflow}
    for _, _, api in apis_of(data) if of_steps else ():
        name, declared = str(api.get("workflow")), api.get("input")
        if name not in of_steps:
            continue
        known = found.get(name, frozenset())
        if known is None or declared is None or declared.unknown == "keep":
            found[name] = None
        else:
            found[name] = known.union(field.name for field in declared.fields)
    return found


def _headers(data: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """By workflow: the headers that its APIs declare."""
    found: dict[str, frozenset[str]] = {}
    for _, _, api in apis_of(data):
        if api.get("headers"):
            name = str(api.get("workflow"))
            found[name] = found.get(name, frozenset()) | api["headers"].keys()
    return found


def _with_body(data: Mapping[str, Any]) -> frozenset[str]:
    """The workflows of which a program gets the request's body as it came."""
    return frozenset(
        name
        for name, workflow in (data.get("workflows") or {}).items()
        if any(step.get("stdin") == "body" for _, step in steps_of(name, workflow))
    )


def _secret(fields: Iterable[Field]) -> Iterator[str]:
    """The names of the fields in which there is a secret."""
    for field in fields:
        if field.secret or any(_secret((*field.fields, *((field.of,) if field.of else ())))):
            yield field.name or "an item"


def _check_body(document: Document, where: Path, api: Mapping[str, Any]) -> None:
    """Report secret fields of an API whose workflow has `stdin: body`: nothing could hide them there."""
    declared = api.get("input")
    if secret := list(_secret(declared.fields)) if declared else []:
        document.report(
            (*where, "workflow"),
            f"{shown(str(api['workflow']))} has a step with `stdin: body`, which would get the secret field "
            f"{shown(secret[0])} as it came, in a form that no log hides: let that step read the input",
        )


def _check_sender(document: Document, where: Path, api: Mapping[str, Any]) -> None:
    """Report what does not fit among the keys that say what an API's sender sends and expects."""
    auth, verbs = api.get("auth"), api.get("verbs", ())
    declared, handshake = api.get("input"), api.get("answer", Answer()).handshake
    if api.get("body") in ("text", "raw", "lines") and declared is not None and declared.fields:
        document.report((*where, "body"), f"{api['body']} gives no object: there can be no fields of an input")
    if (files := api.get("files")) is not None:
        _check_files(document, (*where, "files"), files, api.get("body", "auto"))
    if handshake == "zoom" and auth is not None and not isinstance(auth, SignatureAuth):
        document.report((*where, "answer", "handshake"), "zoom is answered with the secret of a signature: say auth so")
    if isinstance(auth, SignatureAuth) and "GET" in verbs:
        document.report((*where, "verbs"), "can't have GET: it has no body that could be signed")
    own = {auth.scheme.header.lower()} if isinstance(auth, SignatureAuth) else set()
    if isinstance(auth, TokenAuth):
        own = {auth.header.lower()}
        if not auth.header and not all(map(_fits_path, auth.tokens.values())):
            document.report((*where, "auth"), "a token in the path has letters, digits, '-', '.', '_' and '~' only")
    for name, header in api.get("headers", {}).items():
        if header.lower() in own:
            document.report((*where, "headers", name), f"{header} holds the credential, which is never shown")
    if isinstance(when := api.get("when"), str):
        _check_expression(document, (*where, "when"), when, api)
    _check_limits(document, where, api)


def _fits_path(token: Secret) -> bool:
    return token.hashed or bool(_SEGMENT.fullmatch(token.reveal()))


def _check_files(document: Document, where: Path, files: Files, body: str) -> None:
    if body not in ("auto", "form"):
        document.report(where, f"have no effect: {body} is no form")
    elif files.max and body != "auto":
        document.report(where, "are kept of a form as it came: take `body: form` away, and use the filter from_json")


def _check_limits(document: Document, where: Path, api: Mapping[str, Any]) -> None:
    """Report what the limits of an API can't count together, and what does not fit with a debounce."""
    declared = api.get("input")
    secret = frozenset(_secret(declared.fields)) if declared else frozenset()
    for key in ("rate", "concurrency", "debounce"):
        limit = api.get(key)
        if limit is None:
            continue
        place = (*where, key, "per")
        if limit.per == "caller" and key != "debounce" and isinstance(api.get("auth"), NoAuth):
            document.report(place, "can't be caller: this API asks nobody who calls, so that all are one; say address")
        elif limit.per not in TOGETHER:
            _check_expression(document, place, limit.per, api)
            used = sorted(
                path[1] if len(path) > 1 else "" for path in templates.names(limit.per).paths if path[0] == "input"
            )
            if secret and any(name in secret or not name for name in used):
                document.report(place, "uses a secret field of the input, which would be kept in a key in Redis")
    if api.get("debounce") is not None and (files := api.get("files")) is not None and files.max:
        document.report((*where, "debounce"), "can't be had with `files`: those of each call belong to one execution")


def _check_expression(document: Document, where: Path, expression: str, api: Mapping[str, Any]) -> None:
    """Report what an expression over a call uses and is not there."""
    declared = api.get("input")
    fields = None if declared is None or declared.unknown == "keep" else {field.name for field in declared.fields}
    for path in sorted(templates.names(expression).paths):
        root, name = path[0], path[1] if len(path) > 1 else None
        wrong = None
        if root == "headers":
            wrong = wrong_header(name, frozenset(api.get("headers", {})))
        elif root == "input" and name is not None and fields is not None and name not in fields:
            wrong = f"the API has no field {shown(name)}{did_you_mean(name, fields)}"
        elif root not in ("input", "headers", "caller"):
            wrong = f"is not there yet: `{where[-1]}` of an API can use input, headers and caller"
        if wrong:
            document.report(where, f"{shown('.'.join(path))}: {wrong}")


def check_together(document: Document, data: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Report what is wrong between keys; `data` is what the schemas let through, `raw` what the document holds.

    Returns each "package.module:callable" that the config names, with all the places that name it.
    """
    prefix = (data.get("server") or {}).get("prefix", ServerConfig().prefix)
    for path in RESERVED:
        if f"{path}/".startswith(f"{prefix}/") or prefix.startswith(f"{path}/"):
            document.report(("server", "prefix"), f"clashes with {path}, which the service answers itself")

    places: dict[str, list[Path]] = {}
    _check_callbacks(document, data, raw)
    _check_workflows(document, data, raw, places)
    _check_targets(document, data, raw, places)
    with_body = _with_body(data)
    for module, method, api in apis_of(data):
        where = ("modules", module, "methods", method)
        _check_sender(document, where, api)
        if str(api.get("workflow")) in with_body:
            _check_body(document, where, api)
    return places


def _check_callbacks(document: Document, data: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
    """Report callbacks that are named and not declared, and what would use their queue."""
    declared = raw.get("callbacks")
    names = declared if isinstance(declared, dict) else {}
    candidates = sorted(map(str, names))[:MAX_CANDIDATES]
    workflows = data.get("workflows") or {}
    users: list[tuple[Path, Mapping[str, Any]]] = [(("server",), data.get("server") or {})]
    users += [(("workflows", name), workflow) for name, workflow in workflows.items()]
    users += [(("modules", module, "methods", method), api) for module, method, api in apis_of(data)]
    suggestions = 0
    for where, given in users:
        for index, name in enumerate(given.get("callback", ())):
            if name in names:
                continue
            suggestions += 1
            known = shown(name) != "this" and suggestions <= MAX_SUGGESTIONS
            hint = (did_you_mean(name, candidates) if known else "") or "; declare it there, or name another"
            place = (*where, "callback")
            place = place if document.find((*place, index)) is None else (*place, index)
            document.report(place, f"{shown(name)} is not one of `callbacks`{hint}")
    for name, workflow in workflows.items():
        if workflow.get("queue") == CALLBACK.queue:
            document.report(("workflows", name, "queue"), f"{CALLBACK.queue} is the queue of callbacks: take another")


def _check_workflows(
    document: Document, data: Mapping[str, Any], raw: Mapping[str, Any], places: dict[str, list[Path]]
) -> None:
    fields, headers = _fields(data), _headers(data)
    for name, workflow in (data.get("workflows") or {}).items():
        where: Path = ("workflows", name)
        declared = raw["workflows"][name]
        if "python" in workflow:
            python_key = (*where, "python") if isinstance(declared, dict) else where
            places.setdefault(workflow["python"], []).append(python_key)
        if isinstance(declared, dict):
            check_steps(document, name, workflow, declared, fields.get(name), headers.get(name, frozenset()))
            for place, step in steps_of(name, workflow):
                if "python" in step:
                    places.setdefault(step["python"], []).append((*place, "python"))


def _check_targets(
    document: Document, data: Mapping[str, Any], raw: Mapping[str, Any], places: dict[str, list[Path]]
) -> None:
    # Also workflows with mistakes of their own are there: what uses them is not wrong too.
    declared = raw.get("workflows")
    names = declared if isinstance(declared, dict) else {}
    candidates = sorted(names)[:MAX_CANDIDATES]
    suggestions = 0
    for module, method, api in apis_of(data):
        target = api.get("workflow")
        if target is None or target in names:
            continue
        where = ("modules", module, "methods", method, "workflow")
        if ":" in target:
            try:
                places.setdefault(reference(target), []).append(where)
            except ValueError as error:
                document.report(where, str(error))
        else:
            suggestions += 1
            known = shown(target) != "this" and suggestions <= MAX_SUGGESTIONS
            hint = (did_you_mean(target, candidates) if known else "") or f"; name one of them, or {REFERENCE_FORM}"
            document.report(where, f"{shown(target)} is not one of `workflows`{hint}")
