"""The OpenAPI document of a config: https://spec.openapis.org/oas/v3.1.1"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from apispec import APISpec

from trigger.config.model import Config
from trigger.web.openapi import apis, operations
from trigger.web.openapi.answers import COMPONENTS

_ABOUT = """\
A call is answered as soon as its workflow is queued: 202 with the `uid` of the execution, whose record tells later what
became of it. Where an API has a path that ends in `sync`, that waits for the end for a while.

The input of a `GET` are its query parameters, that of other verbs their body, with the query parameters merged under it
if it is an object. Numbers, `true` and `false` may come as text too. In a query or a form an empty value of anything
but a string counts as left out, and a name that comes more than once is a list. Fields that are not declared are
refused, unless an API says otherwise.

A body may be compressed with gzip, as `Content-Encoding` says.

JSON is strict: no key twice, whole numbers within ±2^63, at most 32 levels.

Errors are always `{"response": {"error": {"code", "message"}}}`. Besides those listed, what breaks the rules of HTTP
itself is `requestError.badRequest`, with 400, 408, 414, 417, 431 or 501.
"""

_BEARER = "The token. Where a sender can send nothing else, the password of `Basic` is one, too"
_SCHEMES = {
    "token": {"type": "apiKey", "in": "header", "name": "token"},
    "bearer": {"type": "http", "scheme": "bearer", "description": _BEARER},
    "user": {"type": "apiKey", "in": "header", "name": "user", "description": "Together with `password`"},
    "password": {"type": "apiKey", "in": "header", "name": "password", "description": "Together with `user`"},
    "basic": {"type": "http", "scheme": "basic", "description": "User and password, also an operator's"},
}


def pieces(config: Config) -> Iterator[bytes]:
    """The document as JSON, a piece for each path: never are all of ten thousand APIs in memory, and between two pieces
    other threads answer calls.

    Each API is in it that is enabled.
    """
    spec = _spec(config.version, info={"description": _ABOUT})
    for name, scheme in _SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    enabled = [api for api in config.apis.values() if api.enabled]
    for header in dict.fromkeys(header for api in enabled for header in apis.own_headers(api)):
        if apis.scheme_of(header) not in spec.components.security_schemes:
            spec.components.security_scheme(apis.scheme_of(header), {"type": "apiKey", "in": "header", "name": header})
    for name, response in COMPONENTS.items():
        spec.components.response(name, dict(response))
    spec.components.parameter("key", "header", operations.KEY)
    for module in dict.fromkeys(api.module for api in enabled):
        description = config.modules[module].description
        spec.tag({"name": module} | ({"description": description} if description else {}))
    spec.tag({"name": operations.TAG, "description": "What has become of calls, and the health of the service"})
    for path, its_operations in operations.PATHS.items():
        spec.path(path, operations=deepcopy(dict(its_operations)))  # apispec writes into what it is given
    document = {"openapi": spec.openapi_version.public, **spec.to_dict()}  # in front, where one looks for it
    if any(callback.url and callback.format == "standard" for callback in config.callbacks.values()):
        document["webhooks"] = operations.WEBHOOKS
    paths = document.pop("paths")
    yield _json(document)[:-1] + b',"paths":' + _json(paths)[:-1]
    for api in enabled:
        alone = _spec("")
        for path, its_operations in apis.paths(api, config):
            alone.path(path, operations=its_operations)
        yield b"," + _json(alone.to_dict()["paths"])[1:-1]
    yield b"}}\n"


def _spec(version: str, **options: Any) -> APISpec:
    return APISpec(title="Trigger", version=version, openapi_version="3.1.0", **options)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
