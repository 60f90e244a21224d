"""Workflows that say aloud all they are given, in every way there is. The tests' service has a copy of this file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trigger.workflows import current

EVIDENCE = Path(__file__).with_name("evidence")


def say(value: Any) -> None:
    with EVIDENCE.open("a") as evidence:
        evidence.write(json.dumps(value, ensure_ascii=False) + "\n")
    print(value)
    print(json.dumps(value), json.dumps(value, ensure_ascii=False), file=sys.stderr)
    for text in texts(value):
        print("it is", text)
        print(f"{text}\n{text}", end="", flush=True)
        logging.getLogger("shop").warning("it is %s", text)
        logging.getLogger("shop").error("it is %r", text)
        os.write(2, f"it is {text}\n".encode())
        subprocess.run(["cat"], input=f"{text}\n".encode(), check=True)
    current().logger.info("all of it: %s", value)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)
    elif isinstance(value, str) and value:
        yield value


def tells(value: Any) -> Any:
    say(value)
    return value


def tells_parts(**value: Any) -> Any:
    say(value)
    names = dict.fromkeys(texts(value), 1)
    return {"told": value, "names": names, "text": repr(value), "json": json.dumps(value)}


def fails(value: Any) -> None:
    say(value)
    try:
        fails_at_once(**value)
    except KeyError:
        logging.getLogger("shop").exception("it failed with %s", value)
        raise ValueError(f"no stock of {value!r}, {json.dumps(value)} and {' '.join(texts(value))}") from None


def fails_at_once(**value: Any) -> None:
    raise KeyError(*texts(value))


def fails_parts(**value: Any) -> None:
    fails(value)


def not_json(value: Any) -> Any:
    say(value)
    return {"card": {value["card"]}, value["shown"]: value["preset"]}
