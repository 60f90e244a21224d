"""Config files for the tests of this package."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from trigger.config import Config, load
from trigger.errors import ConfigError, Mistake

MINIMAL = """\
workflows:
  hello: examples.hello:greet
modules:
  shop:
    methods:
      order:
        enabled: true
        auth: {mode: none}
        workflow: hello
"""


def write(folder: Path, text: str | bytes) -> Path:
    """config.yaml in `folder`, that only its owner may read."""
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def api(keys: str, auth: str = "{mode: none}") -> str:
    """A config whose only API, shop/order, has `keys` from line 9 on; its `auth` is at line 7."""
    text = MINIMAL.replace("        enabled: true\n", "").replace("{mode: none}", auth)
    return text + textwrap.indent(textwrap.dedent(keys).strip("\n"), " " * 8) + "\n"


def loaded(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
    return load(write(folder, text), environ or {})


def mistakes(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[Mistake]:
    """All the mistakes that loading `text` tells."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ)
    return list(caught.value.mistakes)


def mistake(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Mistake:
    """The one mistake that loading `text` tells."""
    found = mistakes(folder, text, environ)
    assert len(found) == 1, found
    return found[0]
