"""The commands about signed calls: make one, and say why one is refused."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import click

from trigger.cli.common import api_of, complain, config_in_force, to_look_at
from trigger.cli.instance import Instance
from trigger.config import Api, Config
from trigger.config.model import SignatureAuth
from trigger.config.senders import is_header
from trigger.errors import StartError, UsageError
from trigger.fields.model import MISSING
from trigger.logs import escaped
from trigger.signatures import SignatureMissing, SignatureWrong, Signer
from trigger.signatures import verify as verified
from trigger.signatures.verifying import Headers
from trigger.up.greeting import public_base
from trigger.web import curl

with_url = click.option(
    "--url", metavar="URL", help="Where the service is found, such as https://trigger.example.org; else by the config."
)


@click.command()
@click.argument("api", metavar="MODULE/METHOD")
@click.option("--data", metavar="TEXT|@FILE", help="The body as its sender sends it, instead of the debug data.")
@click.option("--secret", metavar="NAME", help="The secret to sign with, instead of the first.")
@click.option(
    "--header",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    help="A header to send besides: by the API's name for it under `headers`, or by its own. Can be repeated.",
)
@with_url
def sign(api: str, data: str | None, secret: str | None, given: tuple[str, ...], url: str | None) -> None:
    """Print a curl line that calls a signed API, with a fresh signature.

    Headers that the API declares and --header does not give have the value YOUR-..., to be replaced. Of a sender whose
    header is the secret itself (gitlab), the line has the secret.
    """
    found = to_look_at()
    config = config_in_force(found)
    one = api_of(config, api)
    auth = _signed(one, api)
    name = next(iter(auth.secrets)) if secret is None else secret
    if name not in auth.secrets:
        raise UsageError(f"{api} has no secret {name!r}; its secrets are {', '.join(auth.secrets)}")
    _check_set(auth, name)
    verb = next((verb for verb in ("POST", *one.verbs) if verb in one.verbs and verb != "GET"), one.verbs[0])
    if data is not None and data.startswith("@"):
        file = data[1:]
        body, sent = _read(Path(file)), None
    else:
        body = sent = _typed(data) if data is not None else _declared(one, api)
        file = ""
    headers = dict(curl.signature(auth, name, body, now=time.time()))
    headers |= _others(one, given, headers)
    if auth.scheme.layout == "plain":
        complain(f"{auth.scheme.header} in this line is the secret {name!r} itself: keep the line to yourself")
    words = [f"-H{curl.quoted(f'{header}: {text}')}" for header, text in headers.items()]
    if verb != "GET":
        words += curl.with_body(one, verb, sent, file=file)
    click.echo(f"curl {' '.join(words)} {curl.quoted(curl.url_of(one, base_of(found, config, url)))}")


@click.command()
@click.argument("api", metavar="MODULE/METHOD")
@click.option(
    "--headers",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The headers of the call, as NAME: VALUE in a line each.",
)
@click.option(
    "--body", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Its body, byte for byte as it came."
)
def verify(api: str, headers: Path, body: Path) -> None:
    """Say who has signed a call of an API, or why its signature is refused. Exit status 0 where it is right."""
    auth = _signed(api_of(config_in_force(to_look_at()), api), api)
    for name in auth.secrets:
        _check_set(auth, name)
    given, content = _headers(_read(headers)), _read(body)
    try:
        signer = _verified(auth, given, content)
    except (SignatureMissing, SignatureWrong) as error:
        complain(f"refused: {escaped(f'{error}')}")
        for hint in _hints(auth, given, content, error):
            complain(hint)
        sys.exit(1)
    click.echo(f"signed with the secret {signer.name!r}{_delivered(signer)}")


def base_of(found: Instance, config: Config, url: str | None) -> str:
    """Return the URL up to the module, as `url` says, or else the config."""
    if url is None:
        url = (
            "http://localhost"
            if found.settings.unix and not config.server.host
            else public_base(found.settings, config)
        )
    elif not url.startswith(("http://", "https://")):
        raise UsageError("--url must begin with https:// or http://")
    return url.rstrip("/").removesuffix(config.server.prefix) + config.server.prefix


def _signed(api: Api, name: str) -> SignatureAuth:
    if not isinstance(api.auth, SignatureAuth):
        raise UsageError(f"calls of {name} are not signed: its auth says mode: {api.auth.mode}")
    return api.auth


def _check_set(auth: SignatureAuth, name: str) -> None:
    secret = auth.secrets[name]
    if secret.unset:
        raise StartError(f"the secret {name} is {secret.reference}, which is not set in this shell")


def _typed(data: str) -> bytes:
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise UsageError("--data TEXT is not UTF-8: write the bytes into a file, and say --data @FILE") from None


def _others(api: Api, given: Sequence[str], made: Collection[str]) -> dict[str, str]:
    """Return the headers that are sent besides those that are `made`: the `given` ones, and the others that the API
    declares, with words to be replaced."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        header = api.headers.get(name, name)
        if not (equals and value.strip() and value.isprintable() and is_header(header)):
            raise UsageError(f"--header {escaped(text)}: write NAME=VALUE, such as --header event=push")
        found[header] = value
    taken = {header.lower() for header in made}
    for header in found:
        if header.lower() in taken:
            raise UsageError(f"--header {header}: `sign` makes this header itself")
    taken.update(map(str.lower, found))
    others = {header: curl.placeholder(header) for header in api.headers.values() if header.lower() not in taken}
    return found | others


def _declared(api: Api, name: str) -> bytes:
    body = curl.payload(api, {} if api.debug is MISSING else api.debug)
    if body is None:
        raise UsageError(f"say what {name} is sent, with --data TEXT or --data @FILE: its body is {api.body}")
    return body


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None


def _headers(content: bytes) -> Headers:
    """Read headers as curl and servers write them: a line that is none, such as the request's first, is passed over."""
    found: dict[bytes, bytes] = {}
    for line in content.splitlines():
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            key = name.strip().lower()
            found[key] = found[key] + b"," + value.strip() if key in found else value.strip()
    return lambda name: found.get(name.lower().encode()) or None


def _verified(auth: SignatureAuth, headers: Headers, body: bytes, *, at_any_time: bool = False) -> Signer:
    secrets: Mapping[str, str] = {name: secret.reveal() for name, secret in auth.secrets.items()}
    tolerance = None if at_any_time else auth.tolerance
    return verified(auth.scheme, secrets, headers, body, now=time.time(), tolerance=tolerance)


def _hints(auth: SignatureAuth, headers: Headers, body: bytes, error: Exception) -> Iterator[str]:
    """What would make the signature right."""
    if isinstance(error, SignatureMissing):
        yield f"the scheme {auth.name} needs the headers {', '.join(auth.scheme.headers)}"
        return
    for what, content in _variants(body):
        try:
            signer = _verified(auth, headers, content, at_any_time=True)
        except SignatureWrong:
            continue
        yield f"the secret {signer.name!r} would match{what}{_delivered(signer)}"
        if not what:
            yield f"calls are accepted for {auth.tolerance:.0f} s before and after they are signed (`tolerance`)"
        return
    yield f"the secret or the body is another one than the sender's; tried: {', '.join(auth.secrets)}"


def _variants(body: bytes) -> Iterator[tuple[str, bytes]]:
    """What a body may have been before an editor or a proxy touched it."""
    yield "", body
    lines = body.replace(b"\r\n", b"\n")
    yield ", were there no line end after the body", body.rstrip(b"\r\n")
    yield ", were there a line end after the body", body + b"\n"
    yield ", had the body's lines no carriage return", lines
    yield ", did the body's lines end in CR LF", lines.replace(b"\n", b"\r\n")
    yield ", were the body empty", b""


def _delivered(signer: Signer) -> str:
    return f", delivery {signer.delivery}" if signer.delivery else ""
