"""What the views work with: the config in force, and what is made from it for each API."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from trigger.auth import Guard
from trigger.config import Config, Watcher
from trigger.config.model import Api
from trigger.inputs import Shape
from trigger.queueing import Submitter
from trigger.watermark import Watermark


class Shapes:
    """The compiled input of each API, made at its first call: ten thousand of them would take seconds at the start."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._shapes: dict[tuple[str, str], Shape] = {}

    def of(self, config: Config, api: Api) -> Shape:
        """The shape of an API's input under this config."""
        if config is not self._config:
            self._config, self._shapes = config, {}
        shapes = self._shapes
        key = (api.module, api.method)
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = Shape(api.input)
        return shape


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a web process, made once and handed in."""

    watcher: Watcher
    redis: Redis
    submitter: Submitter
    guard: Guard
    shapes: Shapes
    watermark: Watermark
