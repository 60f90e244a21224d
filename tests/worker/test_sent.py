"""What a sender sends beside its JSON, as a program of the workflow gets it: through the real web, in a real worker."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.web.site import Gunicorn, accepted
from tests.worker.conftest import Rig
from trigger import store
from trigger.config import Config, load
from trigger.errors import ConfigError
from trigger.inputs import Shape
from trigger.store import acts
from trigger.store.queueing import Call, Submitter

HEX = "import sys; print(sys.stdin.buffer.read().hex())"

CONFIG = f"""\
retention: 1h
workflows:
  program:
    steps:
      - {{name: one, run: [python3, -c, "{HEX}"], stdin: body}}
  input:
    steps:
      - {{name: one, run: [python3, -c, "{HEX}"]}}
  fails:
    steps:
      - {{name: good, run: ["true"]}}
      - {{name: one, run: [sh, -c, 'cat; test -e go'], stdin: body}}
modules:
  shop:
    methods:
      program: {{enabled: true, auth: {{mode: none}}, workflow: program}}
      text: {{enabled: true, auth: {{mode: none}}, workflow: program, body: raw}}
      input: {{enabled: true, auth: {{mode: none}}, workflow: input}}
      fails: {{enabled: true, auth: {{mode: none}}, workflow: fails}}
"""


class Sent(Rig):
    """The web, and workers, of one config."""

    def configure(self, workflows: str = "", retention: str = "1h") -> None:
        (self.folder / "config.yaml").write_text(CONFIG)

    def serve(self) -> None:
        self.web = self._stack.enter_context(Gunicorn(self.folder, self.url))
        self.start()

    def call(self, api: str, body: bytes, method: str = "POST", **headers: str) -> str:
        return accepted(
            self.web.call(api, method, body=body, headers={n.replace("_", "-"): v for n, v in headers.items()})
        )

    def output(self, uid: str) -> Any:
        record = self.ended(uid)
        assert record.status is store.Status.SUCCEEDED, (record.error, self.log())
        return record.output

    def config(self) -> Config:
        return load(self.folder / "config.yaml", {})

    def parts(self) -> acts.Parts:
        return acts.Parts(self.redis, Submitter(self.redis), self.config(), lambda api: Shape(api.input))


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Sent]:
    rig = Sent(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def body_of(redis: Redis, uid: str) -> Any:
    return redis.hget(store.JOB + uid, "body")


def test_a_program_gets_the_body_as_it_came(rig: Sent, redis: Redis) -> None:
    rig.serve()
    body = b'{ "a":\t1.50,  "\\u00e9": "\xc3\xa9" }\r\n'
    uid = rig.call("shop/program", body, Content_Type="application/json")
    assert bytes.fromhex(rig.output(uid)) == body
    record = rig.record(uid)
    assert record.input == {"a": 1.5, "é": "é"}
    assert "body" not in record.as_json(operator=True)
    assert "\\t1.50" not in json.dumps(record.as_json(operator=True))
    # Not even unpacked, and whatever the bytes are.
    packed = gzip.compress(body)
    uid = rig.call("shop/program", packed, Content_Type="application/json", Content_Encoding="gzip")
    assert bytes.fromhex(rig.output(uid)) == packed
    assert bytes.fromhex(rig.output(rig.call("shop/text", bytes(range(256)) * 100))) == bytes(range(256)) * 100
    assert rig.output(rig.call("shop/program", b"")) == ""
    assert rig.output(rig.call("/v1/api/shop/program/async?a=1", b"", "GET")) == ""
    uid = rig.call("shop/program", b'"' + b"x" * 1_000_000 + b'"', Content_Type="application/json")
    eventually(lambda: rig.record(uid).status in store.FINAL)
    assert rig.record(uid).status is store.Status.SUCCEEDED


def test_the_body_is_kept_only_where_a_program_gets_it(rig: Sent, redis: Redis) -> None:
    rig.serve()
    uid = rig.call("shop/input", b'{"a":  1}', Content_Type="application/json")
    assert bytes.fromhex(rig.output(uid)) == b'{"a": 1}'
    assert body_of(redis, uid) is None
    assert body_of(redis, rig.call("shop/program", b"{}")) is not None


def test_rerun_and_resume_keep_the_body(rig: Sent, redis: Redis) -> None:
    rig.serve()
    body = b'{"a":  1}'
    uid = rig.call("shop/program", body, Content_Type="application/json")
    parts = rig.parts()
    again = acts.rerun(parts, uid).uid
    assert bytes.fromhex(rig.output(again)) == body
    edited = acts.rerun(parts, again, edited={"a": 2}).uid
    assert bytes.fromhex(rig.output(edited)) == b'{"a": 2}'
    simulated = acts.debug(parts, parts.config.apis["shop", "program"], {"b": 3}, {}).uid
    assert bytes.fromhex(rig.output(simulated)) == b'{"b": 3}'
    failed = rig.call("shop/fails", body, Content_Type="application/json")
    assert rig.ended(failed).status is store.Status.FAILED
    (rig.folder / "go").touch()
    assert rig.output(acts.resume(parts, failed).uid) == {"a": 1}


def test_one_that_was_accepted_before_there_was_a_body_says_so(rig: Sent, redis: Redis) -> None:
    config = rig.config()
    api = config.apis["shop", "program"]
    before = replace(api, workflow=replace(api.workflow, steps=()))
    uid = rig.parts().submitter.submit(Call(before, {"a": 1}, None, body=b"{}"), config).uid
    assert body_of(redis, uid) is None
    rig.start()
    error = rig.ended(uid).error
    assert error is not None
    assert error["class"] == "ArgumentError"
    assert "before" in error["message"]


FIELDS = {
    "c: {type: string, secret: true}": True,
    "c: {type: object, fields: {d: {type: list, of: {type: string, secret: true}}}}": True,
    "c: {type: string}": False,
}


@pytest.mark.parametrize(("field", "wrong"), FIELDS.items())
def test_an_api_with_secret_fields_starts_no_program_that_reads_the_body(
    tmp_path: Path, field: str, wrong: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("workflow: program}", f"workflow: program, input: {{fields: {{{field}}}}}}}", 1))
    if not wrong:
        load(path, {})
        return
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (mistake,) = caught.value.mistakes
    assert mistake.key == "modules.shop.methods.program.workflow"
    assert "secret" in mistake.message


@pytest.mark.parametrize(
    "step",
    ["{name: one, run: [cat], stdin: bodies}", "{name: one, python: 'work:echo', stdin: body}"],
)
def test_stdin_is_a_key_of_programs_with_two_values(tmp_path: Path, step: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"workflows: {{it: {{steps: [{step}]}}}}\nmodules: {{}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert [mistake.key for mistake in caught.value.mistakes] == ["workflows.it.steps.0.stdin"]


def test_steps_that_read_the_input_are_still_those_that_were_done_before(tmp_path: Path) -> None:
    """Their digests are what an earlier release has written: a resume must not find them changed."""
    path = tmp_path / "config.yaml"
    path.write_text("workflows: {it: {steps: [{name: one, run: [cat, '-']}]}}\nmodules: {}\n")
    (step,) = load(path, {}).workflows["it"].steps
    assert step.digest == "ee37ef9c7f8fe5a1"
