"""GET /metrics: the figures of the service, for Prometheus. Who may read them, `metrics` in the config says."""

from __future__ import annotations

import threading
import time

from flask import Response

from trigger.web.admission import admit
from trigger.web.answers import whole
from trigger.web.call import ReceivedCall
from trigger.web.metrics import Figures

# An answer is given again for this many seconds: with thousands of APIs it takes a while to make. Not longer, or
# whoever asks two processes in turn would see counters go back.
FRESH = 1.0

_OPENMETRICS = "application/openmetrics-text"


class KeptFigures:
    """The figures as they were last answered."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._kept: dict[bool, tuple[float, bytes, str]] = {}  # by format: until when, the body, its content type

    def exposition(self, figures: Figures, *, openmetrics: bool) -> tuple[bytes, str]:
        """Return the body and its content type."""
        with self._making:
            until, body, content_type = self._kept.get(openmetrics, (0.0, b"", ""))
            if time.monotonic() >= until:
                body, content_type = figures.exposition(openmetrics=openmetrics)
                self._kept[openmetrics] = (time.monotonic() + FRESH, body, content_type)
            return body, content_type


def metrics(call: ReceivedCall) -> Response:
    """GET /metrics"""
    admit(call, call.config.metrics)
    openmetrics = any(
        kind.partition(";")[0].strip(" \t").lower() == _OPENMETRICS and quality > 0
        for kind, quality in call.accept_mimetypes
    )
    return whole(*call.service.figures.exposition(Figures(call.service), openmetrics=openmetrics))
