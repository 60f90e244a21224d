"""The log of a plain Python workflow: all that it prints, logs or lets others print, whatever becomes of the child."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.logs import escaped
from trigger.store import Status
from trigger.store.log_reading import START, Line, follow, read
from trigger.store.queueing import connect
from trigger.store.telling import alone

# Workflows that write; each is a function of this module.
TALKERS = r"""
import ctypes, logging, multiprocessing, os, signal, subprocess, sys, threading, time, warnings
from pathlib import Path

from trigger.workflows import current

FOLDER = Path(__file__).parent
libc = ctypes.CDLL(None)
bound = sys.stdout  # as a library keeps it that was imported before
print("said while it was imported")


def silent(value):
    return value


def echo(value):
    print(value["text"], end=value.get("end", "\n"))


def ways(value):
    print("print")
    print("error", file=sys.stderr)
    logging.getLogger("shop").warning("record %d", 1)
    logging.info("of the root")
    current().logger.info("of the execution")
    sys.stdout.buffer.write(b"bytes\n")
    sys.stdout.flush()
    bound.write("kept\n")
    os.write(1, b"descriptor\n")
    libc.puts(b"C code")
    subprocess.run(["sh", "-c", "echo program; echo its error >&2"])
    os.system("echo shell")
    warnings.warn("a warning")
    threading.Thread(target=print, args=["thread"]).start()


def order(value):
    for number in range(300):
        if number % 3 == 0:
            print(number)
        elif number % 3 == 1:
            print(number, file=sys.stderr)
        else:
            logging.error(number)


def raises(value):
    try:
        raise ValueError("no stock")
    except ValueError:
        logging.exception("it went wrong")


def partial(value):
    libc.printf(b"from C")
    print("no end", end="")
    os.write(2, b"no end either")


def forks(value):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=print, args=[f"child {n}"]) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print("parent")


def flood(value):
    for number in range(value):
        print("line", number)


def flood_by_program(value):
    subprocess.run(["seq", "1", str(value)])


def endless(value):
    # Without Python's lock being given up: nobody in this process could read meanwhile.
    ctypes.PyDLL(None).write(1, b"x" * 1_000_000, 1_000_000)


def binary(value):
    sys.stdout.buffer.write(os.urandom(100_000) + b"\n\x00\xff end\n")


def dies(value):
    print("last words")
    print("without an end", end="", flush=True)
    logging.error("last record")
    os.write(2, b"last bytes\n")
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def waits(value):
    print("begun", flush=True)
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    print("done")


def leaves_a_writer(value):
    wait = "while [ ! -e go ]; do sleep 0.01; done"
    script = f"{wait}; echo late; touch written; while :; do echo later; sleep 0.01; done"
    subprocess.Popen(["sh", "-c", script], cwd=FOLDER)
    print("left")


def leaves_a_fork(value):
    if os.fork() == 0:
        while not (FOLDER / "go").exists():
            time.sleep(0.01)
        print("late from a fork")
        os.write(1, b"late bytes\n")
        (FOLDER / "written").touch()
        os._exit(0)
    print("left")


def spoils(value):
    logging.basicConfig(force=True, level=logging.DEBUG)
    logging.disable(logging.NOTSET)
    sys.stdout.close()
    sys.stderr = None


def detaches(value):
    sys.stdout.detach()


def hangs(value):
    print("before")
    time.sleep(60)


def stubborn(value):
    print("before", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            print("not yet")
"""


class Talkers(Rig):
    """Workers whose workflows are the functions of TALKERS."""

    def configure(self, workflows: str = "", retention: str = "1h") -> None:
        (self.folder / "talkers.py").write_text(TALKERS)
        names = [line[4:].partition("(")[0] for line in TALKERS.splitlines() if line.startswith("def ")]
        listed = "".join(f"  {name}: talkers:{name}\n" for name in names)
        (self.folder / "config.yaml").write_text(
            f"retention: {retention}\nmodules: {{}}\nworkflows:\n{listed}{workflows}"
        )

    def lines(self, uid: str) -> list[Line]:
        page = read(self.redis, uid)
        lines = list(page.lines)
        while page.lines:
            page = read(self.redis, uid, page.next)
            lines += page.lines
        return lines

    def said(self, uid: str, stream: str = "stdout") -> list[str]:
        return [line.text for line in self.lines(uid) if line.stream == stream]

    def run(self, workflow: str, value: object = None, status: Status = Status.SUCCEEDED, **options: object) -> str:
        """The uid of an execution that has ended so."""
        uid = self.submit(workflow, value, **options)  # type: ignore[arg-type]
        record = self.ended(uid, within=100)
        assert record.status is status, record.error
        return uid


@pytest.fixture
def talkers(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> object:
    rig = Talkers(tmp_path, redis, redis_server.url)
    rig.start()
    yield rig
    rig.close()


def test_whatever_way_something_is_written_it_is_in_the_log(talkers: Talkers) -> None:
    uid = talkers.run("ways")
    assert set(talkers.said(uid)) == {"print", "bytes", "kept", "descriptor", "C code", "program", "shell", "thread"}
    errors = talkers.said(uid, "stderr")
    assert errors[:2] == ["error", "its error"] or set(errors[:2]) == {"error", "its error"}
    assert any("UserWarning: a warning" in line for line in errors)
    records = [(line.level, line.text) for line in talkers.lines(uid) if line.stream == "log"]
    assert records == [("WARNING", "shop: record 1"), ("INFO", "of the root"), ("INFO", "of the execution")]
    assert all(line.step == "" and line.attempt == 1 for line in talkers.lines(uid))


def test_what_an_execution_wrote_is_there_when_its_end_is(talkers: Talkers) -> None:
    for number in range(100):
        uid = talkers.submit("echo", {"text": f"number {number}"})
        with alone(talkers.redis, uid) as watch:
            page = follow(talkers.redis, uid, START, 10, 20, watch)
            while not page.ended and not page.lines:
                page = follow(talkers.redis, uid, page.next, 10, 20, watch)
        assert [line.text for line in page.lines] == [f"number {number}"]


def test_what_python_writes_stays_in_order(talkers: Talkers) -> None:
    lines = talkers.lines(talkers.run("order"))
    assert [line.text for line in lines] == [f"{number}" for number in range(300)]
    assert [line.stream for line in lines[:3]] == ["stdout", "stderr", "log"]


def test_a_logged_exception_has_its_traceback(talkers: Talkers) -> None:
    lines = talkers.lines(talkers.run("raises"))
    assert {line.level for line in lines} == {"ERROR"}
    texts = [line.text for line in lines]
    assert texts[:2] == ["it went wrong", "Traceback (most recent call last):"]
    assert texts[-1] == "ValueError: no stock"


def test_what_has_no_end_of_line_is_not_lost_nor_mixed_with_the_next_execution(talkers: Talkers) -> None:
    uid = talkers.run("partial")
    assert sorted(talkers.said(uid)) == ["from Cno end"] or set(talkers.said(uid)) == {"from C", "no end"}
    assert talkers.said(uid, "stderr") == ["no end either"]
    assert talkers.said(talkers.run("echo", {"text": "x"})) == ["x"]


def test_an_execution_that_writes_nothing_leaves_no_key(talkers: Talkers) -> None:
    uid = talkers.run("silent")
    assert not talkers.redis.exists(store.LOG + uid)
    assert talkers.redis.hget(store.JOB + uid, "log") is None


def test_the_log_ends_with_the_record(talkers: Talkers) -> None:
    uid = talkers.run("echo", {"text": "x"})
    left, record = talkers.redis.ttl(store.LOG + uid), talkers.redis.ttl(store.JOB + uid)
    assert 0 < left <= 3600
    assert abs(left - record) <= 1


def test_forked_children_write_into_the_same_log(talkers: Talkers) -> None:
    assert set(talkers.said(talkers.run("forks"))) == {"parent", "child 0", "child 1", "child 2"}


def test_the_log_can_be_read_while_the_workflow_runs(talkers: Talkers) -> None:
    uid = talkers.submit("waits")
    eventually(lambda: talkers.said(uid) == ["begun"])
    assert talkers.record(uid).status is Status.RUNNING
    (talkers.folder / "go").touch()
    talkers.ended(uid)
    assert talkers.said(uid) == ["begun", "done"]


@pytest.mark.parametrize("workflow", ["flood", "flood_by_program"])
def test_of_many_lines_the_newest_are_kept(talkers: Talkers, workflow: str) -> None:
    uid = talkers.run(workflow, 200_000, timeout=100)
    lines = talkers.said(uid)
    first = read(talkers.redis, uid)
    if workflow == "flood":
        assert lines == [f"line {n}" for n in range(200_000 - len(lines), 200_000)]
    else:
        assert lines == [f"{n}" for n in range(200_001 - len(lines), 200_001)]
    assert first.cut == 200_000 - len(lines)
    assert len(lines) > 10_000
    assert (talkers.redis.memory_usage(store.LOG + uid) or 0) < 2 * 1024 * 1024


def test_c_code_that_keeps_python_from_running_may_write_more_than_a_pipe_holds(talkers: Talkers) -> None:
    lines = talkers.said(talkers.run("endless", timeout=20))
    assert sum(line.count("x") for line in lines) > 900_000


def test_binary_output_becomes_text(talkers: Talkers) -> None:
    lines = talkers.said(talkers.run("binary"))
    assert lines[-1] == "\\x00\N{REPLACEMENT CHARACTER} end"
    assert all(escaped(line, keep="\t") == line for line in lines)


def test_secrets_are_masked(talkers: Talkers) -> None:
    value = {"text": "the token is canary-4711\nyes, canary-4711"}
    uid = talkers.submit("echo", value, secrets=[["text"]])
    talkers.ended(uid)
    assert talkers.said(uid) == ["***", "***"]
    assert "canary" not in f"{talkers.redis.xrange(store.LOG + uid)}"


def test_the_last_words_of_a_child_that_is_killed_are_kept(talkers: Talkers) -> None:
    uid = talkers.run("dies")
    for attempt in (1, 2):
        lines = [line for line in talkers.lines(uid) if line.attempt == attempt]
        assert {line.text for line in lines} == {"last words", "without an end", "last record", "last bytes"}


@pytest.mark.parametrize("workflow", ["hangs", "stubborn"])
def test_the_log_of_a_workflow_that_took_too_long_is_kept(talkers: Talkers, workflow: str) -> None:
    uid = talkers.run(workflow, timeout=1, status=Status.FAILED)
    assert talkers.said(uid)[0] == "before"
    assert talkers.said(talkers.run("echo", {"text": "x"})) == ["x"]


@pytest.mark.parametrize("workflow", ["leaves_a_writer", "leaves_a_fork"])
def test_what_a_process_writes_that_was_left_behind_is_in_no_log(talkers: Talkers, workflow: str) -> None:
    before = talkers.run(workflow)
    during = talkers.submit("waits")
    eventually(lambda: talkers.said(during) == ["begun"])
    (talkers.folder / "go").touch()
    talkers.ended(during)
    eventually(lambda: (talkers.folder / "written").exists())
    after = talkers.run("echo", {"text": "x"})
    assert talkers.said(before) == ["left"]
    assert talkers.said(during) == ["begun", "done"]
    assert talkers.said(after) == ["x"]


@pytest.mark.parametrize("workflow", ["spoils", "detaches"])
def test_a_workflow_that_spoils_its_output_spoils_no_other_ones(talkers: Talkers, workflow: str) -> None:
    talkers.run(workflow)
    uid = talkers.run("ways")
    assert {"print", "bytes", "descriptor", "program"} <= set(talkers.said(uid))
    assert any(line.text == "of the execution" for line in talkers.lines(uid))
    line = re.compile(rf"shop/ways succeeded in .* uid={uid} request={uid}$", re.MULTILINE)
    eventually(lambda: line.search(talkers.log()))


def test_the_services_own_log_is_in_no_executions_log(talkers: Talkers) -> None:
    uid = talkers.run("ways")
    assert "said while it was imported" in talkers.log()
    line = re.compile(rf"shop/ways succeeded in .* uid={uid} request={uid}$", re.MULTILINE)
    eventually(lambda: line.search(talkers.log()))
    assert "of the execution" not in talkers.log()
    assert not [line for line in talkers.lines(uid) if "succeeded" in line.text]


def test_a_log_goes_on_after_redis_was_away(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data") as server:
        redis = connect(server.url)
        rig = Talkers(tmp_path, redis, server.url)
        try:
            rig.start()
            uid = rig.submit("waits")
            eventually(lambda: rig.said(uid) == ["begun"])
            server.kill()
            (tmp_path / "go").touch()
            threading.Event().wait(1)  # what it prints now, and its end, find no Redis
            server.start()
            assert rig.ended(uid).status is Status.SUCCEEDED
            assert rig.said(uid) == ["begun", "done"]
        finally:
            rig.close()
            redis.close()


def test_a_redis_that_takes_no_logs_fails_no_workflow(talkers: Talkers) -> None:
    uid = talkers.submit("waits")
    eventually(lambda: talkers.said(uid) == ["begun"])
    talkers.redis.config_set("maxmemory", 1)
    try:
        (talkers.folder / "go").touch()
        assert talkers.ended(uid).status is Status.SUCCEEDED
    finally:
        talkers.redis.config_set("maxmemory", 0)


def test_a_worker_that_is_told_to_stop_keeps_the_log_of_what_it_puts_back(talkers: Talkers) -> None:
    uid = talkers.submit("waits")
    eventually(lambda: talkers.said(uid) == ["begun"])
    worker = next(iter(talkers.redis.smembers("rq:workers")))
    pid = int(talkers.redis.hget(worker, "pid") or 0)
    os.kill(pid, signal.SIGTERM)
    (talkers.folder / "go").touch()
    assert talkers.ended(uid).status is Status.SUCCEEDED
    assert talkers.said(uid) == ["begun", "done"]
