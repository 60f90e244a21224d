"""The page of one execution: what has become of it, where its time went, what it put out, and what can be done."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response

from trigger import store
from trigger.config.model import Config
from trigger.console.drawing import Drawing, draw
from trigger.console.execution_log import Tail, tail
from trigger.console.execution_ways import Fix, Ways
from trigger.console.folding import AROUND, MAX_FOLDS, folded
from trigger.console.lists import MAX_SEARCH, Part, part
from trigger.console.outputs import Output, beginning
from trigger.console.page import Pages, data, plain
from trigger.console.room import Excerpt, Room
from trigger.console.shown import between
from trigger.console.timing import Bar, Timing, spans
from trigger.errors import RequestError
from trigger.store import FINAL, Plan, Record, Status, StepRecord
from trigger.store.acts import unknown
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

# How many lines of a failed step stand beside its error, and how many bytes one may take there.
LINES, LINE = 5, 500
# How many steps a page shows; and in bytes, what one takes there and in the drawing, what all of a page's texts may
# take, and the most of each of them. An input that is longer than its form holds can't be edited here.
STEPS, STEP, BOX = 25, 1_500, 500
TEXTS = 82_000 - 2 * MAX_FOLDS * AROUND
MESSAGE, TRACEBACK, GIVEN, OUTPUT, INPUT, FORM, PART, HEADERS = 4_000, 10_000, 3_000, 8_000, 6_000, 16_000, 1_500, 1_500


@dataclass(frozen=True, slots=True)
class Reason:
    """Why it has not succeeded; `step` is the one that failed, on the page `steps` of them."""

    step: StepRecord | None
    steps: int
    kind: str
    message: Excerpt
    traceback: Excerpt | None
    given: Excerpt | None  # what the step was given, where that is not the input
    lines: tuple[Mapping[str, str], ...]  # the last ones that the step has logged, of those that the page shows

    @classmethod
    def of(cls, record: Record, log: Tail, room: Room) -> Reason | None:
        """None while nothing has failed."""
        if record.error is None:
            return None
        step = record.failed_step
        trace = (step.traceback if step else None) or record.traceback
        is_failed = record.status is not Status.CANCELLED
        return cls(
            step=step,
            steps=_page_of(record.steps.index(step)) if step else 1,
            kind=str(record.error.get("class", ""))[:200],
            message=room.beginning(str(record.error.get("message", "")), MESSAGE),
            traceback=room.end(trace.rstrip(), TRACEBACK) if trace and is_failed else None,
            given=room.json(step.input, GIVEN) if step and step.input is not None else None,
            lines=_last_lines(log, step.name, room) if step else (),
        )


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step, as much of it as there is room for."""

    number: int
    step: StepRecord
    bar: Bar | None
    error: Excerpt | None
    traceback: Excerpt | None
    output: Output | None
    input: Excerpt | None


@dataclass(frozen=True, slots=True)
class Steps:
    """Those of one page. `counts` says how many there are of each status in all; `search` and `only` are what of their
    names, and which status, is asked for."""

    rows: tuple[StepRow, ...]
    counts: Mapping[str, int]
    part: Part[tuple[int, StepRecord]]
    search: str
    only: str

    @classmethod
    def of(cls, record: Record, timing: Timing | None, room: Room, asked: Mapping[str, str]) -> Steps:
        """`asked` is the query of the page."""
        search, only = (asked.get(name, "").strip()[:MAX_SEARCH] for name in ("step", "only"))
        found = [
            (number, step)
            for number, step in enumerate(record.steps, 1)
            if search.casefold() in step.name.casefold() and (not only or step.status == only)
        ]
        telling = 1 if search or only else _page_of(_telling(record))
        shown = part(found, asked.get("steps") or str(telling), STEPS)
        rows = tuple(
            _row(number, step, timing, room, is_told=step is record.failed_step) for number, step in shown.rows
        )
        return cls(rows, Counter(step.status for step in record.steps), shown, search, only)

    @property
    def has_filter(self) -> bool:
        """Whether there are so many that one looks for some."""
        return sum(self.counts.values()) > STEPS

    def query(self, **other: str) -> str:
        """The query of a link to those asked for, but for what is `other`."""
        asked = {"step": self.search, "only": self.only, **other}
        return urlencode({name: value for name, value in asked.items() if value})


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """GET /console/executions/<uid>"""

    service: Service
    pages: Pages

    def __call__(self, call: ReceivedCall, uid: str) -> Response:
        return self.show(call, uid)

    def show(
        self, call: ReceivedCall, uid: str, problem: RequestError | None = None, edited: str | None = None
    ) -> Response:
        """The page, perhaps with why the last act was refused, and with the input that was edited for it."""
        record = self.read(call, uid)
        with self.service.breaker.reading("Logs"):
            log = tail(self.service.redis, uid)
        now = time.time()
        config = call.config
        drawing = _drawing(record, config)
        boxes = len(drawing.boxes) if drawing else 0
        room = Room(TEXTS - log.size - STEP * min(STEPS, len(record.steps)) - BOX * boxes)
        failure = Reason.of(record, log, room)
        output = Output.of(record, room, OUTPUT)
        sent = room.beginning("\n".join(record.headers_shown), HEADERS)
        given = room.json(record.input, INPUT)
        form = room.json(record.input, FORM)
        timing = Timing.of(record, now)
        return self.pages(
            "execution.html",
            problem.status if problem else 200,
            problem.headers if problem else None,
            record=record,
            ways=Ways.of(record, config),
            fix=Fix.of(record, config),
            problem=problem,
            failure=failure,
            timing=timing,
            spans=spans(record, now),
            spent=_spent(record, now),
            steps=Steps.of(record, timing, room, call.args),
            drawing=drawing,
            statuses={step.name: step.status for step in record.steps},
            output=output,
            sent=sent,
            input=given,
            folded=folded,
            edited=edited if edited is not None else None if form.is_cut else form.text,
            once=secrets.token_urlsafe(12),
            log=log,
            live=record.status not in FINAL,
        )

    def record(self, call: ReceivedCall, uid: str) -> Response:
        """GET /console/executions/<uid>/record.json: all of it, as a file."""
        whole = self.read(call, uid).as_json(operator=True)
        return data(whole, headers={"Content-Disposition": f'attachment; filename="{uid}.json"'})

    def output(self, call: ReceivedCall, uid: str) -> Response:
        """GET /console/executions/<uid>/output: all of its output that is kept, as a file."""
        record = self.read(call, uid)
        name = f'attachment; filename="{uid}-output.{"txt" if record.truncated else "json"}"'
        if record.truncated:
            return plain(beginning(record), {"Content-Disposition": name})
        return data(record.output, headers={"Content-Disposition": name})

    def read(self, call: ReceivedCall, uid: str) -> Record:
        """Raises ExecutionNotFound and QueueUnavailable."""
        if not store.is_uid(uid):
            raise unknown()
        with self.service.breaker.reading():
            record = store.read(self.service.redis, uid, call.config.masked)
        if record is None:
            raise unknown()
        return record


def _last_lines(log: Tail, step: str, room: Room) -> tuple[Mapping[str, str], ...]:
    lines = tuple(line for line in log.lines if line["step"].partition("#")[0] == step)[-LINES:]
    return tuple({**line, "text": room.beginning(line["text"], LINE).text} for line in lines)


def _row(number: int, step: StepRecord, timing: Timing | None, room: Room, *, is_told: bool) -> StepRow:
    """`is_told`: the page says already why this one failed."""
    error = dict(step.error) if step.error else {}
    return StepRow(
        number=number,
        step=step,
        bar=timing.of_step(step) if timing else None,
        error=room.beginning(f"{error.get('class')}: {error.get('message')}", PART) if error and not is_told else None,
        traceback=room.end(step.traceback.rstrip(), PART) if step.traceback and not is_told else None,
        output=Output.of(step, room, PART),
        input=room.json(step.input, PART) if step.input is not None and not is_told else None,
    )


def _drawing(record: Record, config: Config) -> Drawing | None:
    """The drawing of its workflow; None when that has other steps now."""
    workflow = config.workflows.get(record.workflow)
    plan = Plan.of(workflow) if workflow else Plan()
    names = (*plan.steps, *plan.on_failure)
    return draw(plan) if names and names == tuple(step.name for step in record.steps) else None


def _page_of(index: int) -> int:
    return index // STEPS + 1


def _telling(record: Record) -> int:
    """The index of the step that tells most: the one that failed, else the first that is not done."""
    open_ = (index for index, step in enumerate(record.steps) if step.status in ("running", "retrying", "waiting"))
    return record.steps.index(record.failed_step) if record.failed_step else next(open_, 0)


def _spent(record: Record, now: float) -> Mapping[str, float]:
    """How many seconds it was in the queue, running and waiting."""
    spent: dict[str, float] = {}
    for span in record.timeline:
        seconds = span.ms / 1000 if span.ms is not None else between(span.since, None, now)
        spent[span.what] = spent.get(span.what, 0.0) + (seconds or 0.0)
    return spent
