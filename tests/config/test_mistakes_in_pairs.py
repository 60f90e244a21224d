"""Whatever two things are wrong with a good config, `check` tells mistakes with a place, each in one line."""

from __future__ import annotations

import contextlib
import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from trigger.config import load
from trigger.errors import ConfigError
from trigger.inputs import Shape

from .writing import write

ENVIRON = {
    "PATH": "/bin",
    "HOOK": "http://127.0.0.1/",
    "CI_TOKEN": "a" * 20,
    "ADA_PASSWORD": "b" * 20,
    "GITHUB_SECRET": "c" * 32,
}

# What stands in the place of a good value.
VALUES: list[Any] = [
    *(
        "",
        "x",
        "\n",
        "5",
        "true",
        "${MISSING}",
        "${HOOK:-x}",
        "{{ input.no }}",
        "{{ steps.quote.output }}",
        "{{",
        "a:b",
    ),
    *([], ["x"], [[]], [None, "x"], {}, {"x": "y"}, {"type": "integer"}, {"\n": []}, None),
]
KEYS = [
    "x",
    "type",
    "steps",
    "python",
    "fields",
    "unknown",
    "retry",
    "env",
    "default",
    "enum",
    "of",
    "token",
    "\n",
    "<",
]

CASES = 60  # of each seed: a second


def texts() -> list[str]:
    example = re.search(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "config.md").read_text(), re.MULTILINE | re.DOTALL)
    assert example
    return [(ROOT / "examples" / "config.yaml").read_text(), (ROOT / "config.yaml").read_text(), example[1]]


GOOD = [yaml.load(text, yaml.BaseLoader) for text in texts()]  # it makes texts only


def holders(value: Any) -> Iterator[Any]:
    """Every mapping and list in a value."""
    if isinstance(value, dict | list) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from holders(item)


def spoil(config: Any, dice: random.Random) -> None:
    """Make one thing in a config another one: a value, a key, or where it stands."""
    found = list(holders(config))
    holder = dice.choice(found)
    place = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match dice.randrange(5):
        case 0:
            holder[place] = copy.deepcopy(dice.choice(VALUES))
        case 1:
            holder.pop(place)
        case 2 if isinstance(holder, dict):
            holder[dice.choice([*KEYS, f"{place}s", f"{place}\n", place.upper()])] = holder.pop(place)
        case 3 if isinstance(holder, dict):
            holder[dice.choice(KEYS)] = copy.deepcopy(dice.choice(VALUES))
        case _:
            holder[place] = copy.deepcopy(dice.choice(found))


def check(path: Path) -> None:
    config = load(path, ENVIRON, lambda *_: {})
    for api in config.apis.values():
        with contextlib.suppress(ValueError):  # which are made mistakes
            Shape(api.input)


@pytest.mark.parametrize("seed", range(8))
def test_two_mistakes_anywhere_are_told(tmp_path: Path, seed: int) -> None:
    """found.md 18: `check` ended in a traceback on a mistake in the input of an API whose workflow has steps."""
    for case in range(CASES):
        dice = random.Random(seed * CASES + case)
        config = copy.deepcopy(dice.choice(GOOD))
        spoil(config, dice)
        spoil(config, dice)
        text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        path = write(tmp_path, text)
        try:
            check(path)
        except ConfigError as error:
            for mistake in error.mistakes:
                assert 1 <= mistake.line <= len(text.splitlines()), text
                assert mistake.message, text
                assert len(str(mistake).splitlines()) == 1, text
        except Exception as error:  # noqa: BLE001  # the text belongs to the report
            pytest.fail(f"{type(error).__name__}: {error}\n{text}")
