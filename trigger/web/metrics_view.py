"""GET /metrics: the figures of the service, for Prometheus. Who may read them, `metrics` in the config says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import Response, g, request

from trigger.config.model import Config
from trigger.web.admission import admit
from trigger.web.answers import whole
from trigger.web.metrics import Figures
from trigger.web.service import Service

# What was answered is answered again for so many seconds: with thousands of APIs it takes a while to make. Not longer,
# or whoever asks two processes in turn would see counters go back.
FRESH = 1.0

_OPENMETRICS = "application/openmetrics-text"


class MetricsView:
    """The view. `operator` tells the name of the operator whose request is being answered; it raises the refusal where
    it is nobody's."""

    def __init__(self, service: Service, operator: Callable[[], str]) -> None:
        self._figures = Figures(service)
        self._operator = operator
        self._making = threading.Lock()
        self._kept: dict[bool, tuple[float, bytes, str]] = {}  # by format: until when, the body, its content type

    def __call__(self) -> Response:
        """The answer to the present request."""
        config: Config = g.config
        admit(config.metrics, self._operator)
        openmetrics = any(
            kind.partition(";")[0].strip(" \t").lower() == _OPENMETRICS and quality > 0
            for kind, quality in request.accept_mimetypes
        )
        return whole(*self._exposition(openmetrics))

    def _exposition(self, openmetrics: bool) -> tuple[bytes, str]:
        """The body and its content type."""
        with self._making:
            until, body, content_type = self._kept.get(openmetrics, (0.0, b"", ""))
            if time.monotonic() >= until:
                body, content_type = self._figures.exposition(openmetrics=openmetrics)
                self._kept[openmetrics] = (time.monotonic() + FRESH, body, content_type)
            return body, content_type
