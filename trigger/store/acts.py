"""The acts of operators on an execution: cancel it, run it again, or go on with what is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis

from trigger import store
from trigger.config.model import Api, Config, Workflow
from trigger.errors import (
    ApiNotAvailable,
    ApiNotEnabled,
    ExecutionEnded,
    ExecutionNotEnded,
    ExecutionNotFound,
    NotResumable,
    RequestError,
    WorkflowChanged,
)
from trigger.fields.model import MISSING
from trigger.inputs import Shape, secrets_of_debug, unmask
from trigger.store import Plan, Resumed, Status
from trigger.store.conditions import is_wanted, limits_of
from trigger.store.lua import load
from trigger.store.queueing import Accepted, Call, Submitter
from trigger.store.stored import Stored

# A cancelled execution is taken out of its queue's list at once where that holds at most so many, which have to be
# looked through; from a longer one it is dropped when its turn comes.
SHORT_LIST = 1_000

_CANCEL = load("cancel")


def cancel(redis: Redis, uid: str, operator: str) -> Status:
    """Cancels an execution for `operator`, and returns what it is now: cancelled if it had not begun or waited for its
    next attempt, running if its worker is being told. Doing it again does no harm.

    Raises ExecutionNotFound; ExecutionEnded when it has succeeded or failed.
    """
    outcome = cancel_all(redis, [uid], operator)[uid]
    if isinstance(outcome, RequestError):
        raise outcome
    return outcome


def cancel_all(redis: Redis, uids: Sequence[str], operator: str) -> dict[str, Status | RequestError]:
    """Cancels executions as `cancel` does, in one round trip: what each is now, or what `cancel` would raise.

    Redis serves nobody else meanwhile: a hundred at once take it some 10 ms.
    """
    script = _CANCEL.on(redis)
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        script(job=store.JOB + uid, uid=uid, operator=operator, short_list=SHORT_LIST, client=pipeline)
    return dict(zip(uids, map(_cancelled, pipeline.execute()), strict=True))


def _cancelled(word: bytes | None) -> Status | RequestError:
    status = store.OF_RQ.get((word or b"").decode())
    if status is None:
        return unknown()
    if status in store.FINAL and status is not Status.CANCELLED:
        return ExecutionEnded(f"The execution has {status} already: there is nothing to cancel")
    return status


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that start an execution anew: where records are, who accepts, the config in force, the shape of an
    API's input, which an edited input has to have."""

    redis: Redis
    submitter: Submitter
    config: Config
    shape_of: Callable[[Api], Shape]


def debug(
    parts: Parts,
    api: Api,
    body: Any,
    query: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    request: str | None = None,
) -> Accepted:
    """Starts an execution of an API, which need not be enabled, with a simulated request: `body` and `query` as
    Shape.apply takes them, and `headers` by the API's names for them. It is marked as debug, and its caller is named
    so; the API's `when` does not count. `request` is the id from outside of the request that asks for it.

    Raises InvalidParams for an input that the API does not accept, and what Submitter.submit raises.
    """
    shape = parts.shape_of(api)
    value = shape.apply(body, query)
    given = {name: (headers or {}).get(name) for name in api.headers}
    secrets = secrets_of_debug(api)
    call = Call(
        api,
        value,
        "debug",
        secrets,
        debug=True,
        request=request,
        headers=given,
        body=json.dumps(body).encode(),
        limits=limits_of(api, value, given, "debug", secrets=secrets),
    )
    return parts.submitter.submit(call, parts.config)


def call(parts: Parts, api: Api, body: Any, *, caller: str, key: str | None = None) -> Accepted | None:
    """Starts an execution of an API as a call with that body would, for `caller`, who needs no credentials; None where
    the API's `when` lets it start nothing. `key` is an Idempotency-Key.

    Raises ApiNotEnabled, InvalidParams for an input that the API does not accept, and what Submitter.submit raises.
    """
    if not api.enabled:
        raise ApiNotEnabled("API is not enabled")
    shape = parts.shape_of(api)
    value = shape.apply(body, {})
    headers: dict[str, str | None] = dict.fromkeys(api.headers)
    if not is_wanted(api, value, headers, caller, shape.secrets):
        return None
    call = Call(
        api,
        value,
        caller,
        shape.secrets,
        key=key,
        headers=headers,
        body=json.dumps(body).encode(),
        limits=limits_of(api, value, headers, caller, caller, shape.secrets),
    )
    return parts.submitter.submit(call, parts.config)


def rerun(
    parts: Parts,
    uid: str,
    *,
    edited: Any = MISSING,
    operator: str | None = None,
    key: str | None = None,
    request: str | None = None,
) -> Accepted:
    """Starts for `operator` a new execution with the input of another, or with an edited one, in which a secret that is
    still masked keeps its value; the body is then that input, as JSON. `key` is an Idempotency-Key; `request` the id
    from outside of the request that asks for it.

    Raises ExecutionNotFound, ApiNotAvailable (also for one that calls back), InvalidParams for an input that the API
    does not accept, and what Submitter.submit raises.
    """
    origin = _origin(parts.redis, uid)
    api = _api(parts.config, origin)
    shape = parts.shape_of(api)
    value = origin.input
    if edited is not MISSING:
        value = shape.apply(unmask(edited, value, (*origin.secrets, *shape.secrets)), {})
    call = _call(api, origin, value, shape, f"rerun\n{uid}\n{key}" if key is not None else None)
    if edited is not MISSING:
        call = replace(call, body=json.dumps(value).encode())
    return parts.submitter.submit(replace(call, rerun_of=uid, operator=operator, request=request), parts.config)


def resume(
    parts: Parts, uid: str, *, operator: str | None = None, key: str | None = None, request: str | None = None
) -> Accepted:
    """Starts for `operator` a new execution that goes on where a failed or cancelled one of a workflow with steps has
    ended: with its input, and with what its finished steps have put out. `key` is an Idempotency-Key; `request` the id
    from outside of the request that asks for it.

    Raises ExecutionNotFound, ExecutionNotEnded, ExecutionEnded when it has succeeded, ApiNotAvailable, NotResumable for
    a workflow without steps, WorkflowChanged when a finished step is another one now, and what Submitter.submit raises.
    """
    origin = _origin(parts.redis, uid)
    if origin.status not in store.FINAL:
        raise ExecutionNotEnded(f"The execution is {origin.status}: only one that has ended can be resumed")
    if origin.status is Status.SUCCEEDED:
        raise ExecutionEnded("The execution has succeeded: nothing is left to do; rerun it to do all of it again")
    api = _api(parts.config, origin)
    workflow = api.workflow
    if not workflow.steps:
        raise NotResumable(f"The workflow {workflow.name} has no steps to go on from; rerun the execution")
    if workflow.name != origin.workflow:
        raise WorkflowChanged(
            f"The API starts the workflow {workflow.name} now, the execution was one of {origin.workflow}; rerun it"
        )
    states = store.states_of(parts.redis, uid)
    finished = _finished(workflow, states)
    resumed = Resumed(
        uid=uid,
        plan=Plan.of(workflow).to_json(),
        unfinished=tuple(name for name in states if name not in finished),
        has_finished=bool(finished),
    )
    shape = parts.shape_of(api)
    call = _call(api, origin, origin.input, shape, f"resume\n{uid}\n{key}" if key is not None else None)
    return parts.submitter.submit(replace(call, resumed=resumed, operator=operator, request=request), parts.config)


def unknown() -> ExecutionNotFound:
    """The error for an execution that is not there, or not any more."""
    return ExecutionNotFound("There is no such execution, or its record is no longer kept")


def _origin(redis: Redis, uid: str) -> Stored:
    origin = store.origin(redis, uid)
    if origin is None:
        raise unknown()
    if origin.calls_back is not None:
        to, of = origin.calls_back
        raise ApiNotAvailable(
            f"It is the callback {to} of the execution {of}, and can't be started anew: "
            f"`trigger callbacks again {of} --to {to}` sends it once more"
        )
    return origin


def _api(config: Config, origin: Stored) -> Api:
    """The API as it is now; one that is not enabled may only go on with what was started by `debug`."""
    name = f"{origin.module}/{origin.method}"
    api = config.apis.get((origin.module, origin.method))
    if api is None:
        raise ApiNotAvailable(f"The config has no API {name} any more")
    if not api.enabled and not origin.debug:
        raise ApiNotAvailable(f"The API {name} is not enabled")
    return api


def _call(api: Api, origin: Stored, value: Any, shape: Shape, key: str | None) -> Call:
    """A call in place of the one that `origin` was accepted for. What was secret then stays so."""
    secrets = tuple(dict.fromkeys((*origin.secrets, *shape.secrets)))
    return Call(
        api,
        value,
        origin.caller,
        secrets,
        debug=origin.debug,
        key=key,
        headers=origin.headers,
        body=origin.body,
        limits=limits_of(api, value, origin.headers, origin.caller, secrets=secrets),
    )


def _finished(workflow: Workflow, states: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The names of the steps that need not run again; raises WorkflowChanged when one of them is another one now."""
    steps = {step.name: step for step in workflow.steps}
    late = {step.name for step in workflow.on_failure}
    finished = set()
    for name, state in states.items():
        step = steps.get(name)
        status = state.get("status")
        allowed_to_fail = step is not None and step.continue_on_error
        if name in late or not (status in ("succeeded", "skipped") or (status == "failed" and allowed_to_fail)):
            continue
        if step is None or state.get("digest") != step.digest:
            what = "is no longer there" if step is None else "has been changed"
            raise WorkflowChanged(
                f"The step {name}, which was done already, {what} in the workflow {workflow.name}; "
                "undo that, or rerun the execution",
                details={"step": name},
            )
        finished.add(name)
    return finished
