"""The password of the console that `up` makes up where nobody has chosen one.

It is kept in the data folder: after the next start it is the same, and who was signed in still is.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from trigger.config import Config, Settings, load
from trigger.config.secret import Secret
from trigger.errors import StartError
from trigger.inforce import load_checked

VARIABLE = "TRIGGER_ADMIN_PASSWORD"
FILE = "admin.password"

_OURS = re.compile(r"[A-Za-z0-9_-]{32}")


def load_with_password(
    settings: Settings, environ: Mapping[str, str], *, text: bytes | None = None
) -> tuple[Config, Secret | None]:
    """The config as `load_checked` has it, and the password that was made up for it; None where there was no need to.

    There is where VARIABLE is not set and the config names an operator by it and no other. `text` is an earlier version
    of the config, to be taken in place of the file's. Raises ConfigError.
    """
    config = load_checked(settings, environ) if text is None else load(settings.config, environ, text=text)
    if config.operators or environ.get(VARIABLE):
        return config, None
    password = _kept(settings.data) or secrets.token_urlsafe(24)
    with_it = load(settings.config, {**environ, VARIABLE: password}, text=config.content)
    return (with_it, Secret(password)) if with_it.operators else (config, None)


def keep(data: Path, password: Secret) -> None:
    """Keeps a password in the data folder, for its owner only. Raises StartError."""
    if _kept(data) == password.reveal():
        return
    temporary = data / f"{FILE}.new"
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{password.reveal()}\n")
        temporary.replace(data / FILE)
    except OSError as error:
        raise StartError(
            f"the console's password can't be kept in {data}: {error.strerror}; choose one and set {VARIABLE} to it"
        ) from error


def _kept(data: Path) -> str | None:
    """The password of the last start; None when there is none, or when others could have written or read it."""
    try:
        descriptor = os.open(data / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        private = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
        text = os.read(descriptor, 100).decode("ascii", "replace").strip() if private else ""
    finally:
        os.close(descriptor)
    return text if _OURS.fullmatch(text) else None
