"""The figures of the service for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats).

Nothing here is of one process alone: what is counted is added up in Redis, so that it does not matter which web process
is asked, and a restart takes nothing away. Only APIs that had calls lately appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isinf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as as_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from trigger import __version__
from trigger.offload import offload
from trigger.store import calls, counters, telling
from trigger.store.overview import overview
from trigger.store.queues import Queue, queues
from trigger.web import readiness

if TYPE_CHECKING:
    from trigger.web.service import Service

Sample = tuple[Sequence[str], float]  # the values of its labels, and its own


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class Figures:
    """The figures of `service`, looked up whenever they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def exposition(self, *, openmetrics: bool) -> tuple[bytes, str]:
        """All there is as it is sent, and its content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(list(self.collect())))
        form, content_type = (
            (as_openmetrics, CONTENT_TYPE_OPENMETRICS) if openmetrics else (as_text, CONTENT_TYPE_PLAIN_0_0_4)
        )
        return offload(form, registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples. While Redis is away only what this process knows by itself."""
        service = self._service
        yield _gauge("trigger_build_info", "The version that runs.", [([__version__], 1)], ["version"])
        yield from self._config()
        state = readiness.state(service.redis, service.watcher, service.watermark)
        yield _gauge("trigger_ready", "Whether calls can be taken, as /readyz says.", [([], state.ready)])
        try:
            found = list(self._shared()) if state.redis["status"] == "ok" else []
        except RedisError:
            found = []
        yield _gauge("trigger_redis_up", "Whether Redis can be used.", [([], bool(found))])
        yield from found

    def _config(self) -> Iterator[Metric]:
        watcher = self._service.watcher
        enabled = sum(api.enabled for api in watcher.current.apis.values())
        states = [(["enabled"], enabled), (["disabled"], len(watcher.current.apis) - enabled)]
        yield _gauge("trigger_config_apis", "APIs in the config in force.", states, ["state"])
        refused = "Whether the last edit of the config was refused, and another version is in force."
        yield _gauge("trigger_config_refused", refused, [([], watcher.refused is not None)])

    def _shared(self) -> Iterator[Metric]:
        redis = self._service.redis
        yield from _apis(counters.api_totals(redis))
        yield _histogram(
            "trigger_execution_seconds",
            "How long the last runs of executions took that have succeeded.",
            "workflow",
            [(of.workflow, of.up_to, of.seconds) for of in counters.workflow_totals(redis)],
        )
        told = "Callbacks by how they ended, and attempts that failed (retried) or were interrupted."
        sent = [([name, how], n) for name, of in counters.callback_totals(redis) for how, n in of.items()]
        yield _counter("trigger_callbacks", told, sent, ["callback", "outcome"])
        called = calls.totals(redis)
        yield _histogram(
            "trigger_call_seconds",
            "How long answers to calls of APIs took: accepted, refused (4xx) or failed (5xx).",
            "outcome",
            [(of, called.up_to[of], called.seconds[of]) for of in calls.CLASSES],
        )
        waits = "Calls that waited for the end of their execution, by how that wait ended."
        yield _counter("trigger_waits", waits, [([of], n) for of, n in called.waits.items()], ["outcome"])
        awaited = "Executions that somebody waits for news of."
        yield _gauge("trigger_awaited", awaited, [([], telling.awaited(redis))])
        edits = "Edits of the config, each counted by every web process that saw it."
        yield _counter("trigger_config_edits", edits, [([of], n) for of, n in called.edits.items()], ["outcome"])
        served = set(self._service.watcher.current.queues)
        seen = overview(redis, 1)
        known = queues(redis, sorted(served | seen.queues))
        # Of queues that the config names no more, those that still hold something.
        yield from _queues([of for of in known if of.name in served or of.unfinished])
        reaped = "Executions that were taken back from workers that had died or got lost."
        yield _counter("trigger_reaped", reaped, [([], seen.reaper["reaped"])])
        poisoned = "Entries in queues, and executions, that were put aside because nobody could read them."
        yield _counter("trigger_poisoned", poisoned, [([], seen.reaper["poisoned"])])
        yield _gauge("trigger_records", "Executions that there are records of.", [([], seen.records)])
        yield _gauge("trigger_redis_memory_bytes", "Memory that Redis uses.", [([], seen.info["used_memory"])])
        limit = "Memory that Redis may use; 0 for no limit."
        yield _gauge("trigger_redis_memory_limit_bytes", limit, [([], seen.info.get("maxmemory", 0))])


def _apis(totals: Iterator[counters.ApiTotals]) -> Iterator[Metric]:
    answered: list[Sample] = []
    ended: list[Sample] = []
    attempts: list[Sample] = []
    for of in totals:
        api = of.module, of.method
        answered += _samples(api, {"accepted": 0, **of.calls})
        if of.module:  # also those that are 0: Prometheus sees no increase in a counter that was not there before
            ended += _samples(api, {**dict.fromkeys(counters.ENDS, 0), **of.ended})
            attempts += _samples(api, {"retried": 0, "interrupted": 0, **of.attempts})
    names = ["module", "method"]
    text = "Calls of APIs by outcome: accepted, replayed, merged, ignored, or the code of the refusal."
    yield offload(_counter, "trigger_calls", text, answered, [*names, "outcome"])
    yield offload(
        _counter, "trigger_executions", "Executions that have ended, by final status.", ended, [*names, "status"]
    )
    text = "Attempts at executions by how they ended: a final status, retried, or interrupted with the worker."
    yield offload(_counter, "trigger_attempts", text, attempts, [*names, "outcome"])


def _samples(api: tuple[str, str], counts: Mapping[str, int]) -> list[Sample]:
    return [((*api, what), count) for what, count in counts.items()]


def _queues(found: Sequence[Queue]) -> Iterator[Metric]:
    def of_each(name: str, text: str, figure: str) -> Metric:
        return _gauge(f"trigger_queue_{name}", text, [([of.name], getattr(of, figure)) for of in found], ["queue"])

    yield of_each("waiting", "Executions that wait for a worker.", "waiting")
    yield of_each("running", "Executions that run.", "running")
    yield of_each("retrying", "Executions that wait for their next attempt, or for that of a step.", "retrying")
    yield of_each("held", "Executions that wait for others of their API, or for the end of their burst.", "held")
    yield of_each("oldest_waiting_seconds", "For how long the oldest of those that wait has waited.", "oldest_waiting")
    yield of_each(
        "oldest_unowned_seconds", "For how long a running or due one has had no living owner.", "oldest_unowned"
    )
    states = [([of.name, "busy"], of.busy) for of in found] + [
        ([of.name, "idle"], of.workers - of.busy) for of in found
    ]
    yield _gauge("trigger_workers", "Living workers by what they do.", states, ["queue", "state"])


def _gauge(name: str, text: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> Metric:
    """Its samples have `_total` after the name."""
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[Sample]) -> Metric:
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, text: str, label: str, samples: Iterable[tuple[str, Sequence[tuple[float, int]], float]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, up_to, total in samples:
        family.add_metric([value], [("+Inf" if isinf(edge) else str(edge), count) for edge, count in up_to], total)
    return family
