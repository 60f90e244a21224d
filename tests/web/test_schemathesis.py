"""Schemathesis calls the real service as /openapi.json says, and as it says one must not: every answer is described."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from tests.support import WORKFLOWS, OwnRedis, environment, eventually, process
from tests.web.described import CONFIG, USER
from tests.web.site import OPERATOR, TOKEN, Gunicorn, accepted, basic

SEED = 20261125
EXAMPLES = 3  # of each operation and phase, beside the cases that follow from its schema

RIGHT = {
    "token": {"api_key": TOKEN},
    "bearer": {"bearer": TOKEN},
    "user": {"api_key": USER},
    "password": {"api_key": OPERATOR},
    "basic": {"username": USER, "password": OPERATOR},
}
WRONG = {name: dict.fromkeys(scheme, "wrong") for name, scheme in RIGHT.items()}

UNCALLABLE = "GET /v1/api/all/nested/async"
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes and a worker, on a Redis of their own."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "config.yaml").write_text(CONFIG)
    os.chmod(folder / "config.yaml", 0o600)
    (folder / "work.py").write_text(WORKFLOWS)
    with ExitStack() as stack:
        redis = stack.enter_context(OwnRedis(folder / "data", fsync="no"))
        web = stack.enter_context(Gunicorn(folder, redis.url))
        log = folder / "worker.log"
        stack.enter_context(process(["worker"], environment(folder, redis.url), log))
        eventually(lambda: "serves queue" in log.read_text())
        yield web


def settings(credentials: dict[str, Any]) -> SchemathesisConfig:
    # What is generated follows from the seed alone, and not from what was answered.
    from_schema_alone = {"extra-data-sources": {"responses": False}}
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "database": "none", "no-shrink": True},
            "auth": {"openapi": credentials},
            "parameters": {"query.wait": "0"},
            "phases": {
                "examples": from_schema_alone,
                "coverage": from_schema_alone,
                "fuzzing": {**from_schema_alone, "error-feedback": {"enabled": False}},
                "stateful": {"inference": {"algorithms": []}, "link-calibration": False},
            },
            "checks": {
                # Besides a success: what depends on the executions that there are, and on the keys used before.
                "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "404", "409", "422"]},
                # Besides the usual refusals: what is too long.
                "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "405", "413", "414", "415"]},
            },
            # What a rerun takes depends on the execution; and a query can't say what the other one requires.
            "operations": [
                {"include-name": label, "checks": {"positive_data_acceptance": {"enabled": False}}}
                for label in ("POST /v1/executions/{uid}/rerun", UNCALLABLE)
            ],
        }
    )  # fmt: skip


def is_fault(failure: Failure, case: schemathesis.Case[Any]) -> bool:
    """Whether a failure is not one that a schema can't prevent."""
    if isinstance(failure, RejectedPositiveData) and case.media_type == "application/json":
        return not has_untold_number(case.body)
    if isinstance(failure, AcceptedNegativeData) and case.media_type == "application/json":
        return not has_number_as_text(case.body)
    if isinstance(failure, AcceptedNegativeData) and case.media_type in FORMS:
        return not is_read_leniently(case)
    return True


def has_untold_number(value: Any) -> bool:
    """JSON Schema can't tell 5.0 from 5, which we do for an integer, nor a large whole number from a large float."""
    if isinstance(value, dict | list):
        return any(has_untold_number(item) for item in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def has_number_as_text(value: Any) -> bool:
    """We read the text of a number as one, which the description leaves out."""
    if isinstance(value, dict | list):
        return any(has_number_as_text(item) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and NUMBER.fullmatch(value) is not None


def is_read_leniently(case: schemathesis.Case[Any]) -> bool:
    """Whether a form has what would make its schema hard to read, as in a query's it is said otherwise: nothing in the
    place of an optional value that is no string, or an item in the place of a list of one."""
    if not isinstance(case.body, dict):
        return False
    schema = case.operation.definition.raw["requestBody"]["content"][case.media_type]["schema"]
    for name, property in schema.get("properties", {}).items():
        if name not in case.body or (property.get("type") == "string" and not property.keys() & {"format", "pattern"}):
            continue
        value = case.body[name]
        if value == "" and name not in schema.get("required", ()):
            return True
        if property.get("type") == "array" and not isinstance(value, list):
            return True
    return False


def run(service: Gunicorn, credentials: dict[str, Any]) -> tuple[dict[str, set[int]], list[str]]:
    """The statuses that each operation, called by its own verb, has answered, and what is wrong with any answer."""
    url = f"http://127.0.0.1:{service.port}/openapi.json"
    schema = schemathesis.openapi.from_url(url, config=settings(credentials))

    @schema.hook
    def filter_failure(context: Any, failure: Failure, case: schemathesis.Case[Any], response: Any) -> bool:
        return is_fault(failure, case)

    answered: dict[str, set[int]] = {}
    faults: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            faults.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            for case_id, interaction in recorder.interactions.items():
                assert interaction.response is not None, "every call is answered"
                if recorder.label.startswith(f"{interaction.request.method} "):
                    answered.setdefault(recorder.label, set()).add(interaction.response.status_code)
                for check in recorder.checks.get(case_id, ()):
                    if check.failure_info is not None:
                        sent = (
                            f"{interaction.request.method} {interaction.request.uri} {interaction.request.body!r:.500}"
                        )
                        said = f"{interaction.response.status_code} {interaction.response.content!r:.500}"
                        faults.append(f"{recorder.label}: {check.name}: {check.failure_info.failure}\n{sent}\n{said}")
    return answered, faults


def test_with_credentials_every_answer_is_as_described(service: Gunicorn) -> None:
    answered, faults = run(service, RIGHT)
    assert faults == []
    calls = {label: statuses for label, statuses in answered.items() if "/v1/api/" in label}
    assert len(calls) == 11
    for label, statuses in calls.items():
        assert 400 in statuses or "/any/" in label, label
        assert 202 in statuses or label == UNCALLABLE, label
    assert {200, 202, 404} <= set().union(*answered.values())


def test_with_wrong_credentials_every_answer_is_as_described(service: Gunicorn) -> None:
    answered, faults = run(service, WRONG)
    assert faults == []
    closed = ("all/keeps", "all/drops", "any/get", "/v1/executions")
    for label, statuses in answered.items():
        if any(name in label for name in closed) and "{uid}" not in label:
            assert statuses <= {400, 401, 413, 414}, label
            assert 401 in statuses, label


def test_real_records_lists_and_logs_are_as_described(service: Gunicorn) -> None:
    headers = {"token": TOKEN, "Content-Type": "application/json"}
    uid = accepted(service.call("all/keeps", body=b'{"n": 1, "m": [1.5]}', headers=headers))
    operator = basic(USER, OPERATOR)
    record = f"/v1/executions/{uid}"
    eventually(lambda: service.call(record, "GET", headers=operator).json["response"]["status"] == "failed")
    paths = service.call("/openapi.json", "GET").json["paths"]

    def told(path: str) -> Any:
        return paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

    for path, described in (
        (record, "/v1/executions/{uid}"),
        (f"{record}/logs", "/v1/executions/{uid}/logs"),
        ("/v1/executions", "/v1/executions"),
        ("/readyz", "/readyz"),
    ):
        schema = told(described)
        for who in (operator, {"token": TOKEN}) if path.startswith(record) else (operator,):
            answer = service.call(path, "GET", headers=who).json
            Draft202012Validator(schema).validate(answer)
            assert answer["response"].keys() <= schema["properties"]["response"]["properties"].keys(), path
    steps = service.call(record, "GET", headers=operator).json["response"]["steps"]
    assert [step["status"] for step in steps] == ["succeeded", "failed"]
    told_of_step = told("/v1/executions/{uid}")["properties"]["response"]["properties"]["steps"]["items"]["properties"]
    assert all(step.keys() <= told_of_step.keys() for step in steps)
