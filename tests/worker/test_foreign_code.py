"""Whatever a workflow does to its process: its own execution ends with a clear record, and no other is touched."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from bench.processes import children, command, descendants, is_alive
from tests.faults.conftest import FaultRig
from tests.support import OwnRedis, eventually
from trigger import store
from trigger.errors import ExecutionEnded
from trigger.store import Record, Status, acts
from trigger.store.log_reading import read

FOREIGN = r'''
import ctypes, json, locale, logging, resource, socket, struct, threading


def forks(value):
    os.fork()
    return 1


def forks_and_stays(value):
    if os.fork() == 0:
        time.sleep(300)
        os._exit(0)
    return 1


def daemonises(value):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.5)
            print("late by Python", flush=True)
            os.write(1, b"late by itself\n")
            EVIDENCE.with_name("late").touch()
            time.sleep(300)
        os._exit(0)
    return 1


def executes(value):
    os.execvp("true", ["true"])


def closes_all(value):
    os.closerange(0, 1024)
    return 1


def closes_most(value):
    os.closerange(3, 1024)
    return 1


def blocks_signals(value):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    return 1


def overflows(value):
    def down(n):
        return down(n + 1) + 1
    import sys
    sys.setrecursionlimit(10**9)
    ctypes.string_at(8)


def eats_memory(value):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    kept = []
    while True:
        kept.append(b"x" * (50 << 20))


def floods(value):
    for number in range(20_000):
        print("x" * 200)
    os.write(1, b"y" * 1_000_000)
    return 1


def kills_parent(value):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def kills_parents_group(value):
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
    time.sleep(60)


def terminates_parents_group(value):
    os.killpg(os.getpgid(os.getppid()), signal.SIGTERM)
    return 1


def stops_itself(value):
    os.kill(os.getpid(), signal.SIGSTOP)
    return 1


def writes_nonsense(value):
    for fd in range(3, 64):
        try:
            os.write(fd, b"\xff")
        except OSError:
            pass
    return 1


def lies(value):
    """Says all that its process, or the guardian, might say."""
    texts = [b"", b"-1", b"1", b"x", b"t5", b't[1e999,""]', b'f["K","m",null,null,true]', b"o" + b"[" * 20000, b"\xff"]
    for fd in range(3, 32):
        for kind in b"pugrcswoelzx?":
            for at in (float("nan"), 1e308, -1.0, time.time()):
                for text in texts:
                    try:
                        os.write(fd, struct.pack("<cdB", bytes([kind]), at, 0) + text)
                    except OSError:
                        break
    return 1


def ends_threads(value):
    threading.Thread(target=lambda: os._exit(0), daemon=True).start()
    time.sleep(60)


def state():
    """What a piece of work can see of the one before it in the same process."""
    return json.loads(json.dumps({
        "cwd": os.getcwd(),
        "umask": os.umask(os.umask(0o22)) and None,
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "sigterm": str(signal.getsignal(signal.SIGTERM)).partition(" at ")[0],
        "sigint": str(signal.getsignal(signal.SIGINT)),
        "sigusr2": str(signal.getsignal(signal.SIGUSR2)),
        "litter": "LITTER" in os.environ,
        "path": "PATH" in os.environ,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "threads": threading.active_count(),
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
        "timeout": socket.getdefaulttimeout(),
        "stdout": type(sys.stdout).__name__,
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "nice": os.nice(0),
        "disabled": logging.root.manager.disable,
    }))


def looks(value):
    mask = os.umask(0)
    os.umask(mask)
    return {**state(), "umask": mask}


def litters(value):
    match value:
        case "a signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        case "a handler": signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "another handler": signal.signal(signal.SIGUSR2, lambda *_: None)
        case "a umask": os.umask(0o123)
        case "a folder": os.chdir("/")
        case "variables":
            os.environ["LITTER"] = "x"
            del os.environ["PATH"]
        case "a limit": resource.setrlimit(resource.RLIMIT_NOFILE, (8, 1024))
        case "descriptors": [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
        case "a thread": threading.Thread(target=time.sleep, args=[300], daemon=True).start()
        case "a locale": locale.setlocale(locale.LC_ALL, "C.UTF-8")
        case "a recursion limit": sys.setrecursionlimit(5000)
        case "a timeout": socket.setdefaulttimeout(1)
        case "a stdout": sys.stdout = open(os.devnull, "w")
        case "a timer": signal.alarm(200)
        case "a priority": os.nice(1)
        case "disabled logs": logging.disable(logging.CRITICAL)
        case "a child": subprocess.Popen(["sleep", "300"])
    return os.getpid()


def pid(value):
    return os.getpid()


def ignores_sigterm(value):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 1


def short(value):
    note("S")
    time.sleep(value)
    note("D")


def killed_at(value):
    """Dies until its attempt with this number."""
    note("S")
    with open(EVIDENCE.with_name("times"), "a") as file:
        file.write(f"{time.monotonic()}\n")
    if current().attempt < value["good"]:
        os.kill(os.getpid(), signal.SIGKILL)
    note("D")
    return current().attempt
'''

NAMES = [line[4:].partition("(")[0] for line in FOREIGN.splitlines() if line.startswith("def ")]


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[FaultRig]:
    rig = FaultRig(tmp_path, redis, redis_server.url)
    with (tmp_path / "work.py").open("a") as file:
        file.write(FOREIGN)
    listed = [name for name in NAMES if name != "state"] + ["slow_first"]
    rig.configure("".join(f"  {name}: work:{name}\n" for name in listed) + "cancel_grace: 1s\n")
    yield rig
    rig.close()
    for pid in pids_of(tmp_path):
        os.kill(pid, signal.SIGKILL)


def pids_of(folder: Path) -> list[int]:
    """What a test has left running on purpose: it has the test's variable in its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TRIGGER_CONFIG={folder}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def succeeds(rig: FaultRig, workflow: str, value: object = None) -> Record:
    record = rig.ended(rig.submit(workflow, value))
    assert record.status is Status.SUCCEEDED, record.error
    return record


def test_one_that_forks_harms_no_other(rig: FaultRig) -> None:
    """found.md 1: of 300 executions among 6 that forked, 186 failed although each had run to its end."""
    worker = rig.start()
    uids = [rig.submit("forks" if number % 10 == 5 else "noted", {}) for number in range(60)]
    records = [rig.ended(uid) for uid in uids]
    assert {record.status for record in records} == {Status.SUCCEEDED}
    assert {record.attempt for record in records} == {1}
    assert worker.poll() is None
    rig.is_tidy()


OWN_END = {
    "forks": None,
    "forks_and_stays": None,
    "daemonises": None,
    "executes": "its process ended with exit status 0 before it returned",
    "closes_all": "its process ended with exit status 1 before it returned",
    "closes_most": "its process ended with exit status 1 before it returned",
    "blocks_signals": None,
    "overflows": "its worker died 2 times",
    "eats_memory": "",
    "floods": None,
    "kills_parent": "its worker died 2 times",
    "kills_parents_group": "its worker died 2 times",
    "terminates_parents_group": None,
    "stops_itself": "The workflow took longer than 2 s and had to be killed",
    "writes_nonsense": "",
    "lies": "",
    "ends_threads": "its process ended with exit status 0 before it returned",
}


@pytest.mark.parametrize("workflow", OWN_END)
def test_it_ends_clearly_and_the_worker_lives(rig: FaultRig, workflow: str) -> None:
    rig.set("crashes: 2")
    worker = rig.start()
    before = [rig.submit("noted", {}) for _ in range(3)]
    uid = rig.submit(workflow, timeout=2 if workflow == "stops_itself" else 60)
    after = [rig.submit("noted", {}) for _ in range(3)]
    record = rig.ended(uid)
    message = OWN_END[workflow]
    if message is None:
        assert (record.status, record.output) == (Status.SUCCEEDED, 1), record.error
    elif message:
        assert (record.error or {})["message"] == message
    for other in (*before, *after):
        ended = rig.succeeded(other)
        assert ended.attempt == 1
    assert worker.poll() is None
    succeeds(rig, "pid")


@pytest.mark.parametrize(
    "what",
    [
        "a signal mask",
        "a handler",
        "another handler",
        "a umask",
        "a folder",
        "variables",
        "a limit",
        "descriptors",
        "a thread",
        "a locale",
        "a recursion limit",
        "a timeout",
        "a stdout",
        "a timer",
        "a priority",
        "disabled logs",
        "a child",
    ],
)
def test_what_one_leaves_behind_meets_no_other(rig: FaultRig, what: str) -> None:
    rig.start()
    clean = succeeds(rig, "looks").output
    # Descriptors are only counted now and then.
    spoilt = {succeeds(rig, "litters", what).output for _ in range(25 if what == "descriptors" else 1)}
    seen = succeeds(rig, "looks").output
    assert seen == clean
    if what == "descriptors":
        assert len(spoilt) > 1
    elif what != "variables":
        assert succeeds(rig, "pid").output not in spoilt


def test_a_process_that_is_left_clean_is_used_again_also_after_a_failure(rig: FaultRig) -> None:
    rig.start()
    pids = {succeeds(rig, "pid").output for _ in range(5)}
    rig.ended(rig.submit("fails", {}))
    assert {succeeds(rig, "pid").output} == pids
    assert len(pids) == 1


def test_what_runs_foreign_code_holds_no_connection_of_the_worker(rig: FaultRig) -> None:
    worker = rig.start()
    uid = rig.submit("noted", {"seconds": 3})
    rig.started(uid)
    sockets = {os.readlink(path) for path in Path(f"/proc/{worker.pid}/fd").iterdir() if path.exists()}
    redis_sockets = {name for name in sockets if name.startswith("socket:")}
    for pid in descendants(worker.pid):
        held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        # Its end of the pair, and 0 to 2: what is a socket is not one of the worker's.
        assert not redis_sockets & set(held)
        assert sum(name.startswith("socket:") for name in held) == 1
        assert len(held) <= 5
    rig.succeeded(uid)


def test_one_that_ignores_sigterm_delays_neither_an_edit_nor_a_stop(rig: FaultRig) -> None:
    """found.md 4: an edit was not in force after 35 s, and a stop took all of `stop_grace`."""
    worker = rig.start()
    succeeds(rig, "ignores_sigterm")
    config = rig.folder / "config.yaml"
    config.write_text(config.read_text().replace("  echo: work:echo\n", "  echo: work:who\n"))
    eventually(lambda: isinstance(succeeds(rig, "echo", {}).output, list), within=10)
    succeeds(rig, "ignores_sigterm")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(8) == 0  # of the 25 s of its grace


def test_cancels_at_the_end_of_runs_harm_nobody_else(rig: FaultRig, redis: Redis) -> None:
    """found.md 2: 5 innocent executions failed in 112 cancels that came when theirs had just ended."""
    chosen = random.Random(3)
    rig.start_with()
    innocent = []
    for _ in range(40):
        uid = rig.submit("short", 0.02)
        innocent += [rig.submit("short", 0) for _ in range(3)]
        rig.started(uid)
        time.sleep(chosen.uniform(0.01, 0.03))
        try:
            acts.cancel(redis, uid, "ada")
        except ExecutionEnded:
            pass
        assert rig.ended(uid).status in (Status.SUCCEEDED, Status.CANCELLED)
    for uid in innocent:
        record = rig.ended(uid)
        assert (record.status, record.attempt, record.error) == (Status.SUCCEEDED, 1, None)
    rig.is_tidy()


def test_deaths_in_a_row_pause_longer_and_longer(rig: FaultRig) -> None:
    """found.md 5: five deaths within 0.1 s used up `crashes`."""
    rig.start_with()
    uid = rig.submit("killed_at", {"good": 4})
    record = rig.ended(uid)
    assert (record.status, record.output) == (Status.SUCCEEDED, 4)
    times = [float(line) for line in (rig.folder / "times").read_text().split()]
    first, second, third = (after - before for before, after in itertools.pairwise(times))
    assert first < 1 <= second < 3 <= third
    assert record.attempt == 4
    assert rig.evidence() == {f"S {uid}": 4, f"D {uid}": 1}
    rig.is_tidy()


def test_what_a_worker_that_died_held_is_not_kept(rig: FaultRig, redis: Redis) -> None:
    """found.md 6: the set of what a dead worker held lived for 30 days."""
    worker = rig.start_with()
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    (held,) = redis.keys("rq:worker:*:executions")
    eventually(lambda: 0 < redis.ttl(held) <= 3600)
    worker.kill()
    rig.start_with()
    rig.succeeded(uid)
    eventually(lambda: not redis.exists(held))


def test_what_was_left_behind_goes_on_and_the_processes_of_others_do_not_touch_it(rig: FaultRig) -> None:
    rig.set("crashes: 2")
    worker = rig.start()
    uid = rig.submit("litters", "a child")
    rig.ended(uid)
    left = eventually(lambda: [pid for pid in descendants(worker.pid) if "sleep" in command(pid)])
    rig.ended(rig.submit("kills_parent"))
    for workflow in ("forks", "killed"):
        rig.ended(rig.submit(workflow, {}))
    assert all(map(is_alive, left))


def test_a_daemon_writes_into_no_log_but_its_own(rig: FaultRig) -> None:
    rig.start()
    first = rig.submit("daemonises")
    during = rig.submit("noted", {"seconds": 1})
    rig.ended(during)
    eventually(lambda: (rig.folder / "late").exists())
    after = rig.submit("who", {})
    rig.ended(after)
    assert [[line.text for line in read(rig.redis, uid).lines] for uid in (first, during, after)] == [
        [],
        [],
        ["hello from who"],
    ]
    assert "late" not in rig.log()


def test_a_worker_has_no_more_processes_than_it_needs(rig: FaultRig) -> None:
    worker = rig.start()
    for workflow in ("echo", "forks", "litters", "fails", "killed_once", "echo"):
        rig.ended(rig.submit(workflow, {}))
    eventually(lambda: len(children(worker.pid)) == 1 and len(descendants(worker.pid)) == 2)
    assert rig.redis.zcard(store.leased_key("default")) == 0
