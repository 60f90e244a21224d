"""The smallest workflow: a function of one argument, the execution's input, that returns what JSON can carry."""

from __future__ import annotations

from typing import Any


def greet(data: dict[str, Any]) -> dict[str, str]:
    """{"name": "Ada"} becomes {"greeting": "Hello, Ada"}; without a name the world is greeted."""
    return {"greeting": f"Hello, {data.get('name') or 'world'}"}
