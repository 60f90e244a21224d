"""What a sender sends beside its JSON, as a program of the workflow gets it: through the real web, in a real worker."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.web.site import Answer, Gunicorn, accepted, refusal
from tests.worker.conftest import Rig
from trigger import store
from trigger.config import Config, load
from trigger.errors import ConfigError, QueueUnavailable
from trigger.inputs import Shape
from trigger.kept_files import KeptFiles
from trigger.store import acts
from trigger.store.queueing import Call, Submitter

HEX = "import sys; print(sys.stdin.buffer.read().hex())"

# Prints the file, but waits before where a file "wait" is there and none "go".
READ = 'while test -e wait -a ! -e go; do sleep 0.05; done; cat "$1"'

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
  reads:
    steps:
      - name: one
        run: [sh, -c, '{READ}', sh, "{{{{ input.doc.path }}}}"]
modules:
  shop:
    methods:
      upload: {{enabled: true, auth: {{mode: none}}, workflow: reads, files: {{max: 2, size: 1 KiB}}}}
      declared:
        enabled: true
        auth: {{mode: none}}
        workflow: input
        files: {{max: 2, size: 1 KiB}}
        input: {{fields: {{doc: {{type: object, required: true}}, all: {{type: list}}, note: {{type: any}}}}}}
      ignored: {{enabled: true, auth: {{mode: none}}, workflow: input, files: ignore}}
      refused: {{enabled: true, auth: {{mode: none}}, workflow: input}}
      program: {{enabled: true, auth: {{mode: none}}, workflow: program}}
      text: {{enabled: true, auth: {{mode: none}}, workflow: program, body: raw}}
      input: {{enabled: true, auth: {{mode: none}}, workflow: input}}
      fails: {{enabled: true, auth: {{mode: none}}, workflow: fails}}
"""


class Sent(Rig):
    """The web, and workers, of one config."""

    def configure(self, workflows: str = "", retention: str = "1h") -> None:
        (self.folder / "config.yaml").write_text(CONFIG)

    web: Gunicorn

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


@pytest.fixture(scope="module")
def web(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder = tmp_path_factory.mktemp("sent")
    (folder / "config.yaml").write_text(CONFIG)
    with Gunicorn(folder, redis_server.url) as web:
        yield web


@pytest.fixture
def rig(web: Gunicorn, redis: Redis, redis_server: OwnRedis) -> Iterator[Sent]:
    """A rig whose workers are the test's own, without files of the test before."""
    for name in ("go", "wait"):
        (web.folder / name).unlink(missing_ok=True)
    shutil.rmtree(web.folder / "data" / "files", ignore_errors=True)
    rig = Sent(web.folder, redis, redis_server.url)
    rig.web = web
    yield rig
    rig.close()


def body_of(redis: Redis, uid: str) -> Any:
    return redis.hget(store.JOB + uid, "body")


def test_a_program_gets_the_body_as_it_came(rig: Sent, redis: Redis) -> None:
    rig.start()
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
    rig.start()
    uid = rig.call("shop/input", b'{"a":  1}', Content_Type="application/json")
    assert bytes.fromhex(rig.output(uid)) == b'{"a": 1}'
    assert body_of(redis, uid) is None
    assert body_of(redis, rig.call("shop/program", b"{}")) is not None


def test_rerun_and_resume_keep_the_body(rig: Sent, redis: Redis) -> None:
    rig.start()
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


# --- files of forms ---

Part = tuple[str, str | None, bytes]  # the name of the field, that of the file, and what is in it


def form(*parts: Part) -> bytes:
    found = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename is not None else ""
        kind = "Content-Type: text/x-of-tests\r\n" if filename is not None else ""
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{kind}\r\n'
        found += head.encode() + content + b"\r\n"
    return found + b"--b--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
DOC: Part = ("doc", "a.txt", b"what is in it")


def answered(rig: Sent, api: str, *parts: Part, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return rig.web.call(api, body=form(*parts), headers={**FORM, **named})


def folders(rig: Sent) -> list[str]:
    folder = rig.folder / "data" / "files"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_of_a_form_is_there_until_its_execution_is_over(rig: Sent) -> None:
    (rig.folder / "wait").touch()
    rig.start()
    uid = accepted(answered(rig, "shop/upload", DOC, ("note", None, b"hello")))
    eventually(lambda: rig.record(uid).status is store.Status.RUNNING)
    sent = rig.record(uid).input
    path = rig.folder / "data" / "files" / uid / "0"
    assert sent == {
        "note": "hello",
        "doc": {"filename": "a.txt", "content_type": "text/x-of-tests", "size": 13, "path": str(path)},
    }
    assert path.read_bytes() == b"what is in it"
    assert [path.stat().st_mode & 0o777 for path in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    (rig.folder / "go").touch()
    assert rig.output(uid) == "what is in it"
    eventually(lambda: not folders(rig))


def test_names_of_files_are_data_only(rig: Sent) -> None:
    rig.start()
    (rig.folder / "wait").touch()
    names = ["../../../../evil", "/etc/passwd", "a\0b", "..", "", "x" * 5000, "caf\u00e9 \u2603"]
    for name in names:
        uid = accepted(answered(rig, "shop/upload", ("doc", name, b"x")))
        assert folders(rig)[-1] == uid
        assert [path.name for path in (rig.folder / "data" / "files" / uid).iterdir()] == ["0"]
        assert rig.record(uid).input["doc"]["path"].endswith(f"/data/files/{uid}/0")
    assert not (rig.folder / "evil").exists()
    (rig.folder / "go").touch()
    eventually(lambda: not folders(rig), within=30)


def test_declared_fields_take_files(rig: Sent) -> None:
    rig.start()
    uid = accepted(answered(rig, "shop/declared", DOC, ("all", "b", b"12"), ("none", "", b"")))
    found = json.loads(bytes.fromhex(rig.output(uid)))
    assert found["doc"]["size"] == 13
    assert [file["filename"] for file in found["all"]] == ["b"]
    uid = accepted(answered(rig, "shop/declared", DOC, ("note", None, b"text"), ("note", "n", b"")))
    note = json.loads(bytes.fromhex(rig.output(uid)))["note"]
    assert note[0] == "text"
    assert note[1]["size"] == 0
    refused = refusal(answered(rig, "shop/declared", ("doc", None, b'{"path": "/etc/passwd"}')))
    assert (refused.status, refused.details) == (400, {"fields": {"doc": ["must be an object"]}})
    refused = refusal(answered(rig, "shop/declared", DOC, ("other", "o", b"")))
    assert refused.status == 400
    eventually(lambda: not folders(rig))


def test_what_is_refused_leaves_no_file(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> None:
    rig = Sent(tmp_path, redis, redis_server.url)
    (rig.folder / "config.yaml").write_text("server: {backlog: 1}\n" + CONFIG)
    with Gunicorn(tmp_path, redis_server.url) as rig.web:
        many = [(f"f{number}", "a", b"") for number in range(3)]
        assert refusal(answered(rig, "shop/upload", *many)).status == 413
        assert refusal(answered(rig, "shop/upload", ("doc", "a", b"x" * 1025))).status == 413
        assert refusal(answered(rig, "shop/refused", DOC)).status == 415
        # Whoever could name a path in JSON could have any file of the machine read.
        for body in (b'{"doc": {"path": "/etc/passwd"}}', b'[{"path": "/etc/passwd"}]'):
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                said = refusal(rig.web.call("shop/upload", body=body, headers={"Content-Type": kind}))
                assert said.status == 415
        assert not store_keys(redis)
        assert folders(rig) == []
        uid = accepted(answered(rig, "shop/upload", DOC))
        assert refusal(answered(rig, "shop/upload", DOC)).status == 429
        assert folders(rig) == [uid]


def store_keys(redis: Redis) -> list[bytes]:
    return list(redis.scan_iter("rq:job:*"))


def test_files_are_passed_over_where_they_are_ignored(rig: Sent) -> None:
    rig.start()
    uid = accepted(
        answered(rig, "shop/ignored", DOC, ("note", None, b"hello"), *[("f", "x", b"")] * 200, ("none", "", b""))
    )
    assert json.loads(bytes.fromhex(rig.output(uid))) == {"note": "hello"}
    assert folders(rig) == []


def test_the_same_files_are_the_same_call(rig: Sent) -> None:
    uid = accepted(answered(rig, "shop/upload", DOC, Idempotency_Key="k"))
    again = answered(rig, "shop/upload", DOC, Idempotency_Key="k")
    assert accepted(again) == uid
    assert again.headers["idempotency-replayed"] == "true"
    other = refusal(answered(rig, "shop/upload", ("doc", "a.txt", b"what is NO it"), Idempotency_Key="k"))
    assert other.code.endswith("Mismatch") or other.status in (409, 422)
    assert folders(rig) == [uid]


def test_files_outlive_a_worker_that_is_killed(rig: Sent) -> None:
    (rig.folder / "wait").touch()
    worker = rig.start()
    uid = accepted(answered(rig, "shop/upload", DOC))
    eventually(lambda: rig.record(uid).status is store.Status.RUNNING)
    worker.kill()
    worker.wait()
    # What is left of one that has ended, and of one that is not there.
    ended = rig.parts().submitter.submit(Call(rig.config().apis["shop", "input"], {}, None), rig.config()).uid
    acts.cancel(rig.redis, ended, "ada")
    for left in (ended, store.new_uid()):
        (rig.folder / "data" / "files" / left).mkdir()
    rig.start()
    eventually(lambda: ended not in folders(rig), within=30)
    assert uid in folders(rig)
    assert len(folders(rig)) == 2
    (rig.folder / "go").touch()
    assert rig.ended(uid, within=60).output == "what is in it"
    eventually(lambda: folders(rig) == [left])


def test_a_sweep_takes_only_what_is_over(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path)
    uids = [store.new_uid() for _ in range(4)]
    over, runs, young, old = uids
    for uid in uids:
        kept.keep(uid, [b"a", b"b"])
    (tmp_path / "files" / "notes").mkdir()
    os.utime(tmp_path / "files" / old, (1, 1))
    states = {over: True, runs: False}
    kept.sweep(store.is_uid, lambda found: [states.get(uid) for uid in found])
    assert {path.name for path in (tmp_path / "files").iterdir()} == {runs, young, "notes"}


def test_files_are_kept_in_a_private_folder_only(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files").chmod(0o755)
    with pytest.raises(QueueUnavailable):
        KeptFiles(tmp_path).keep(store.new_uid(), [b"a"])
    (tmp_path / "files").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(QueueUnavailable):
        KeptFiles(tmp_path).keep(store.new_uid(), [b"a"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "keys",
    ["files: ignore, body: json", "files: {max: 1, size: 1}, body: form", "files: {max: 0, size: 1}", "files: x"],
)
def test_files_that_can_not_be_are_mistakes(tmp_path: Path, keys: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("files: ignore", keys))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (mistake,) = caught.value.mistakes
    assert mistake.key.startswith("modules.shop.methods.ignored.files")


def test_files_larger_than_any_body_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("files: ignore", "files: {max: 1, size: 2 MiB}"))
    assert [warning.key for warning in load(path, {}).warnings] == ["modules.shop.methods.ignored.files"]
    path.write_text("server: {max_body: 3 MiB}\n" + path.read_text())
    assert not load(path, {}).warnings
