"""The parts of a web process that its views work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from redis import Redis

from trigger.config import Watcher
from trigger.config.model import Api, Config
from trigger.inputs import Shape
from trigger.kept_files import KeptFiles
from trigger.store import Breaker
from trigger.store.acts import Parts
from trigger.store.queueing import Submitter
from trigger.store.telling import News
from trigger.store.watermark import Watermark
from trigger.web.auth import Guard
from trigger.web.docs import Described
from trigger.web.metrics_view import KeptFigures
from trigger.web.sessions import Sessions
from trigger.web.tally import Tally


class Shapes:
    """The compiled input of each API, made at its first call: most of thousands of APIs are never called."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[str, str], tuple[Api, Shape]] = {}

    def of(self, api: Api) -> Shape:
        """The shape of an API's input; a new one when an edit of the config has made it another API."""
        key = (api.module, api.method)
        kept = self._shapes.get(key)
        if kept is None or kept[0] is not api:
            kept = self._shapes[key] = (api, Shape(api.input))
        return kept[1]


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a web process, made once and handed in."""

    watcher: Watcher
    redis: Redis
    breaker: Breaker  # for reads; the submitter has its own
    submitter: Submitter
    guard: Guard
    shapes: Shapes
    sessions: Sessions
    watermark: Watermark
    tally: Tally
    files: KeptFiles
    news: News
    described: Described = field(default_factory=Described)
    figures: KeptFigures = field(default_factory=KeptFigures)

    def parts(self, config: Config) -> Parts:
        """Return the parts that start an execution anew. Raises QueueUnavailable."""
        self.watermark.check()
        return Parts(self.redis, self.submitter, config, self.shapes.of)
