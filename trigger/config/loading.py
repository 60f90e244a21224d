"""From the bytes of config.yaml to a Config, or to everything that is wrong with it."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from marshmallow import ValidationError
from yaml import ScalarNode

from trigger.config import callbacks as of_callbacks
from trigger.config.building import workflow_of
from trigger.config.code import Code, code_of
from trigger.config.document import Document
from trigger.config.files import Stamp, read, stamp
from trigger.config.model import (
    MIN_MASKED,
    Api,
    Callback,
    Config,
    End,
    Module,
    PasswordAuth,
    ServerConfig,
    SignatureAuth,
    TokenAuth,
    Workflow,
)
from trigger.config.programs import missing
from trigger.config.references import References, Replaced
from trigger.config.rules import apis_of, check_together, steps_of
from trigger.config.schemas import CONFIG, redis_url
from trigger.config.secret import MIN_LENGTH, MIN_SIGNING, Secret, written_forms
from trigger.config.step_rules import texts
from trigger.errors import ConfigError, Mistake

MAX_FILE = 32 * 1024 * 1024  # bytes
RETENTION = 7 * 86400.0  # seconds, where the config says nothing
# The ends that the callbacks of `server` are told of, where they do not say so themselves.
OF_SERVER: tuple[End, ...] = ("failed",)

# Keys that Config takes as they are.
_PLAIN = ("workers", "idempotency", "crashes", "stop_grace", "cancel_grace", "logs", "keep", "docs", "metrics")

CheckImports = Callable[[Sequence[str], Code], Mapping[str, str]]


class RefusedError(ConfigError):
    """The mistakes of a config, with the state of the files it was read from: an edit of one of them may mend it."""

    def __init__(self, mistakes: Sequence[Mistake], stamps: Mapping[Path, Stamp | None]) -> None:
        super().__init__(mistakes)
        self.stamps = stamps


def load(
    path: Path,
    environ: Mapping[str, str],
    check_imports: CheckImports | None = None,
    *,
    text: bytes | None = None,
    complete: bool = True,
    code: Code | None = None,
) -> Config:
    """Read, check and convert the config at `path`.

    `environ` gives the values of `${NAME}`. `check_imports` is called with the sorted references
    ("package.module:callable") of all workflows, and with the project's code that they are made of; it returns why each
    of those that can't be imported can't; with it, the programs and folders of steps are looked for too. None: what
    workflows use is not looked for. `text` is read in the place of the file's content, and `code` in that of the Python
    files': an earlier version, kept for when they are broken. A Watcher of such a config looks at the files themselves
    soon. `complete`: a reference that can't be replaced is a mistake; else it stays as it is written, for those who
    only look at the config. Raises ConfigError with every mistake there is.
    """
    file = Path(os.path.abspath(path))
    references = References(file.parent, environ, complete=complete)
    references.stamps[file] = None
    with collector_paused():
        try:
            return _load(path, file, references, check_imports, text, code)
        except ConfigError as error:
            raise RefusedError(error.mistakes, references.stamps) from None


def declared_redis(path: Path, environ: Mapping[str, str], text: bytes | None = None) -> Secret | None:
    """The Redis that the config at `path`, or `text` in its place, names; None for the private one.

    Nothing else in it is looked at. Raises ConfigError.
    """
    document = Document(str(path), read_text(path)[0] if text is None else _decoded(path, text))
    node = document.find(("redis",))
    if not isinstance(node, ScalarNode):
        return None
    try:
        return redis_url(References(Path(os.path.abspath(path)).parent, environ).replace(node.value))
    except ValueError as error:
        raise ConfigError([document.mistake(("redis",), str(error))]) from None


def read_text(path: Path) -> tuple[str, bytes, Stamp]:
    """The text of a config file without its BOM, its bytes, and the state they were read in; or ConfigError."""
    try:
        content, state = read(path, MAX_FILE)
    except ValueError as error:
        raise ConfigError([Mistake(str(path), 1, 1, "", f"the config file {error}")]) from None
    return _decoded(path, content), content, state


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = "this is not UTF-8: save the file in that encoding"
        raise ConfigError([Mistake(str(path), line, column, "", message)]) from None


def _load(
    path: Path,
    file: Path,
    references: References,
    check_imports: CheckImports | None,
    kept: bytes | None,
    kept_code: Code | None,
) -> Config:
    references.stamps[file] = stamp(file)
    if kept is None:
        text, content, state = read_text(path)
        references.stamps[file] = state
    else:
        text, content, state = _decoded(path, kept), kept, None
    document = Document(str(path), text)
    # Keys that begin with x- are for what is used elsewhere with anchors.
    raw = {key: value for key, value in document.values(references.replace).items() if not key.startswith("x-")}
    data = _converted(document, raw)
    places = check_together(document, data, raw)
    code = kept_code or code_of(places, file.resolve().parent)
    references.stamps.update(code.stamps)
    if check_imports is not None:
        failed = check_imports(sorted(places), code)
        wrong = [(place, reason) for reference, reason in failed.items() for place in places[reference]]
        for where, reason in (*wrong, *_missing(data, file.resolve().parent, references.path)):
            document.report(where, reason)
    if document.mistakes:
        raise ConfigError(list(dict.fromkeys(document.mistakes)))
    return Config(
        path=path,
        server=ServerConfig(**_named(data.get("server") or {})),
        retention=data.get("retention", RETENTION),
        operators={name: secret for name, secret in (data.get("operators") or {}).items() if secret is not None},
        **_declared(document, data, raw),
        files=tuple(dict.fromkeys((*references.stamps, *(source.path for source in code.modules.values())))),
        digest=references.digest(content, *code.parts()),
        code=code,
        redis=data.get("redis"),
        **{key: data[key] for key in _PLAIN if key in data},
        variables=references.variables,
        masked=_masked(raw.get("workflows")),
        unset=tuple(references.unset),
        content=content,
        warnings=_warnings(document, data, raw, state),
        # The file's own state is not that of a text kept from earlier: unknown, so that a Watcher looks at it.
        stamps={name: at for name, at in references.stamps.items() if kept is None or name != file},
    )


def _converted(document: Document, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the schemas make of the document's values, as far as they are valid; mistakes are reported."""
    try:
        data: dict[str, Any] = CONFIG.load(raw)
    except ValidationError as error:
        _report(document, (), error.messages)
        data = error.valid_data if isinstance(error.valid_data, dict) else {}
    return data


def _declared(document: Document, data: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the workflows, APIs, modules and callbacks of the valid data, by these words."""
    workflows = {
        name: workflow_of(document, name, given, raw["workflows"][name])
        for name, given in (data.get("workflows") or {}).items()
    }
    callbacks = {name: Callback(name, **given) for name, given in (data.get("callbacks") or {}).items()}
    of_all = (data.get("server") or {}).get("callback", ())
    apis = {
        (module, method): _api(document, raw, module, method, given, workflows, (callbacks, of_all))
        for module, method, given in apis_of(data)
    }
    modules = {
        name: Module(name, given.get("description", ""), tuple(given.get("methods") or ()))
        for name, given in (data.get("modules") or {}).items()
    }
    return {"workflows": workflows, "apis": apis, "modules": modules, "callbacks": callbacks}


def _api(
    document: Document,
    raw: Mapping[str, Any],
    module: str,
    method: str,
    given: dict[str, Any],
    workflows: dict[str, Workflow],
    told: tuple[Mapping[str, Callback], Sequence[str]],
) -> Api:
    target = str(given.pop("workflow"))
    if target not in workflows:
        workflows[target] = Workflow(name=target, python=target, calls=target)
    where = ("modules", module, "methods", method)
    outside = _outside(_at(raw, where).get("debug"))
    line, _ = document.place(where)
    if isinstance(given["auth"], SignatureAuth):
        given.setdefault("verbs", ("POST",))  # others have no body that could be signed, or change nothing
    workflow = workflows[target]
    callbacks, of_all = told
    own = given.pop("callback", workflow.callback)
    names, usual = (of_all, OF_SERVER) if own is None else (own, get_args(End))
    ends = {name: callbacks[name].on or usual for name in names}
    return Api(module, method, workflow=workflow, callbacks=ends, outside=outside, line=line, **_named(given))


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names that they have in Python, where `from` is no name."""
    return {"networks" if key == "from" else key: value for key, value in given.items()}


def _outside(value: Any) -> tuple[tuple[str, ...], ...]:
    """The paths to the texts in a value that came from outside the file, "*" standing for each item of a list."""
    paths = (
        tuple(step if isinstance(step, str) else "*" for step in path)
        for path, text in texts(value)
        if isinstance(text, Replaced) and text.outside
    )
    return tuple(dict.fromkeys(paths))


def _missing(data: Mapping[str, Any], folder: Path, search: str) -> Iterator[tuple[Sequence[Hashable], str]]:
    """The programs and folders that steps name and that are not there, with their places."""
    for name, workflow in (data.get("workflows") or {}).items():
        for where, step in steps_of(name, workflow):
            for path, wrong in missing(step, folder, search):
                yield (*where, *path), wrong


def _masked(workflows: Any) -> tuple[str, ...]:
    """Return all that came into workflows from outside the file, in every form in which it may turn up; of a value of
    several lines each line too, as logs show it."""
    found: set[str] = set()
    for _, text in texts(workflows):
        if isinstance(text, Replaced):
            found.update(text.outside)
            found.update(line.strip() for value in text.outside for line in value.splitlines())
    forms = {form for value in found if len(value) >= MIN_MASKED for form in written_forms(value)}
    return tuple(sorted(forms, key=len, reverse=True))


def _report(document: Document, path: tuple[Hashable, ...], messages: Any) -> None:
    """Turn marshmallow's messages, nested as the data is, into mistakes at the places of the file."""
    if isinstance(messages, dict):
        for key, found in messages.items():
            _report(document, path if key == "_schema" else (*path, key), found)
    else:
        for message in messages:
            document.report(path, message)


def _warnings(
    document: Document, data: Mapping[str, Any], raw: Mapping[str, Any], state: Stamp | None
) -> tuple[Mistake, ...]:
    """Return what is allowed but unwise: secrets that are public or short, a file that others may read or write."""
    found = []
    mode = state.mode if state is not None else 0
    exposed = bool(mode & (stat.S_IROTH | stat.S_IWOTH))
    in_file = False
    for path, secret in _secrets(data, raw):
        if not secret.hashed and secret.demo:
            found.append(document.mistake(path, "is a demo credential that everybody knows: choose another"))
            continue
        if secret.short:
            found.append(
                document.mistake(path, f"is shorter than {MIN_LENGTH} characters: a longer one is harder to guess")
            )
        if exposed and not secret.hashed and not in_file:
            in_file = not isinstance(_at(raw, path), Replaced)
    found += [document.mistake(path, text) for path, text in _risks(data, raw)]
    found += [document.mistake(path, text) for path, text in _risks_of_callbacks(data)]
    if exposed and in_file:
        others = "write" if mode & stat.S_IWOTH else "read"
        message = (
            f"everybody on this machine may {others} this file, and it holds secrets: "
            "chmod 600 it, or keep the secrets elsewhere with ${NAME} or ${file:PATH}"
        )
        found.append(Mistake(document.file, 1, 1, "", message))
    elif mode & stat.S_IWOTH:
        found.append(Mistake(document.file, 1, 1, "", "everybody on this machine may write this file: chmod 644 it"))
    return tuple(sorted(found, key=lambda warning: (warning.line, warning.column)))


def _risks(data: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is allowed of senders, and costs some safety."""
    max_body = (data.get("server") or {}).get("max_body", ServerConfig().max_body)
    for module, method, given in apis_of(data):
        path = ("modules", module, "methods", method, "auth")
        auth = given["auth"]
        if isinstance(auth, SignatureAuth):
            if auth.scheme.ids and "once" not in _at(raw, path):
                yield path, "says no `once`: what the sender delivers twice runs twice; `once: 24h` or `once: off`"
            for name, secret in auth.secrets.items():
                if MIN_LENGTH <= len(secret.reveal()) < MIN_SIGNING:
                    yield (
                        (*path, "secrets", name),
                        f"is shorter than {MIN_SIGNING} characters: one call is enough to guess it",
                    )
        if (files := given.get("files")) and files.size > max_body:
            yield (*path[:-1], "files"), f"a whole body may have {max_body:,} bytes at most: see `max_body` of server"
        if isinstance(auth, TokenAuth) and not auth.header:
            yield path, "the token is in the path: proxies, browsers and logs on the way keep it"


def _risks_of_callbacks(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is allowed of callbacks, and costs some safety."""
    for name, given in (data.get("callbacks") or {}).items():
        path = ("callbacks", name)
        if (url := given.get("url")) is not None:
            host = of_callbacks.host_of(url)
            if url.reveal().startswith("http:") and not of_callbacks.is_loopback(host):
                yield (*path, "url"), "is without TLS: whoever is on the way reads, and may change, what is sent"
            if given.get("format", "standard") == "standard" and "secrets" not in given:
                yield path, 'is not signed: with `secrets: ["${NAME}"]` its receiver can tell that it comes from here'
        for index, secret in enumerate(given.get("secrets", ())):
            if of_callbacks.is_short(secret):
                yield (
                    (*path, "secrets", index),
                    f"has a key of fewer than {of_callbacks.MIN_KEY} bytes: one callback is enough to guess it",
                )


def _secrets(data: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Secret]]:
    """Every secret with the path of the place it is given at."""
    for name, secret in (data.get("operators") or {}).items():
        if secret is not None:
            yield ("operators", name), secret
    for module, method, given in apis_of(data):
        path = ("modules", module, "methods", method, "auth")
        auth = given["auth"]
        if isinstance(auth, TokenAuth) and "token" in _at(raw, path):
            yield (*path, "token"), auth.tokens["token"]
        elif isinstance(auth, TokenAuth):
            for name, secret in auth.tokens.items():
                yield (*path, "tokens", name), secret
        elif isinstance(auth, PasswordAuth):
            for name, secret in auth.users.items():
                yield (*path, "users", name), secret
        elif isinstance(auth, SignatureAuth):
            for name, secret in auth.secrets.items():
                yield (*path, "secrets", name), secret


def _at(raw: Any, path: Sequence[str]) -> Any:
    for step in path:
        raw = raw[step]
    return raw


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic garbage collector, which a large file's values would set going again and again in vain."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
