"""The supervisor, in a process of its own, with stand-ins for the programs of the service."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, eventually

# Runs the programs it is given as JSON; what it says goes to stderr.
SUPERVISE = """
import json, logging, signal, sys
from pathlib import Path
from trigger.errors import StartError
from trigger.up.supervisor import Program, run

logging.basicConfig(level=logging.INFO, format="%(message)s")
folder, programs, environment = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])

seen = 0

def on_look(fleet):
    # Does what the file `orders` says, a line at a time: the name of a method and its arguments.
    global seen
    orders = folder / "orders"
    for line in orders.read_text().splitlines()[seen:] if orders.exists() else ():
        seen += 1
        order, *words = json.loads(line)
        if order == "add":
            fleet.add(Program(last_words=last_words, **words[0]), on_trial=words[1])
        elif order == "signal":
            fleet.signal(words[0], signal.Signals[words[1]])
        else:
            getattr(fleet, order)(*words)
    if (folder / "give-up").exists():
        raise StartError("the test said so")

def last_words():
    return "disk full"

made = [Program(last_words=last_words, **program) for program in programs]
try:
    sys.exit(run(made, environment=environment, on_look=on_look, on_hangup=lambda: print("hung up", file=sys.stderr)))
except StartError as error:
    sys.exit(f"refused: {error}")
"""

# Writes a line to `events` when it starts and when it is told to stop; it needs `stops_in` seconds to do so.
SERVE = """
import os, signal, sys, time
name, stops_in = sys.argv[1], float(sys.argv[2])

def note(word):
    fd = os.open("events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{word} {name} {os.getpid()}\\n".encode())
    os.close(fd)

def stop(signum, frame):
    note(signal.Signals(signum).name)
    time.sleep(stops_in)
    note("gone")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
note("start")
while True:
    signal.pause()
"""


class Service:
    """A supervisor with its programs, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *programs: dict[str, Any], **environment: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, self.folder, json.dumps(programs), json.dumps(environment)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def events(self) -> list[tuple[str, str]]:
        """What the programs wrote: (word, name)."""
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, name) for word, name, _ in map(str.split, lines)]

    def order(self, *words: Any) -> None:
        with (self.folder / "orders").open("a") as orders:
            orders.write(json.dumps(words) + "\n")

    def pids(self, name: str) -> list[int]:
        """The processes that ever were this program, in the order of their starts."""
        lines = (self.folder / "events").read_text().splitlines()
        return [int(pid) for word, who, pid in map(str.split, lines) if (word, who) == ("start", name)]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def started(self, *names: str) -> None:
        eventually(lambda: {("start", name) for name in names} <= set(self.events()))

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        assert self.process is not None
        (os.killpg if group else os.kill)(self.process.pid, number)

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(30)


def program(name: str, rank: int, *, stops_in: float = 0, stop_seconds: int = 10) -> dict[str, Any]:
    command = [sys.executable, "-c", SERVE, name, str(stops_in)]
    return {"name": name, "command": command, "rank": rank, "stop_seconds": stop_seconds}


def shell(name: str, script: str) -> dict[str, Any]:
    return {"name": name, "command": ["/bin/sh", "-c", script], "rank": 1, "stop_seconds": 5}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    if service.process is not None and service.process.poll() is None:
        service.process.kill()
        service.process.wait()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


THREE = (program("store", 1), program("worker", 2), program("front", 3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order_the_highest_rank_first(service: Service, number: signal.Signals) -> None:
    service.start(*(program(p, rank, stops_in=0.3) for p, rank in (("store", 1), ("worker", 2), ("front", 3))))
    service.started("store", "worker", "front")
    service.signal(number)
    assert service.ended() == 0
    assert service.events()[3:] == [
        (word, name) for name in ("front", "worker", "store") for word in ("SIGTERM", "gone")
    ]


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_programs(service: Service) -> None:
    """A terminal sends SIGINT to the whole foreground group."""
    service.start(*THREE)
    service.started("store", "worker", "front")
    service.signal(signal.SIGINT, group=True)
    assert service.ended() == 0
    assert [event for event in service.events() if event[0] == "SIGINT"] == []
    assert [name for word, name in service.events() if word == "SIGTERM"] == ["front", "worker", "store"]


def test_programs_of_one_rank_stop_together(service: Service) -> None:
    service.start(program("store", 1), program("a", 2, stops_in=0.5), program("b", 2, stops_in=0.5))
    service.started("store", "a", "b")
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    stops = service.events()[3:]
    assert {name for _, name in stops[:2]} == {"a", "b"}
    assert [word for word, _ in stops[:4]] == ["SIGTERM", "SIGTERM", "gone", "gone"]


def test_one_that_does_not_stop_is_killed_after_its_time(service: Service) -> None:
    service.start(program("store", 1), program("stuck", 2, stops_in=1000, stop_seconds=1))
    service.started("store", "stuck")
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    assert ("gone", "stuck") not in service.events()
    assert service.events()[-1] == ("gone", "store")


def test_a_second_ctrl_c_kills_what_has_not_stopped(service: Service) -> None:
    service.start(program("stuck", 1, stops_in=1000, stop_seconds=1000))
    service.started("stuck")
    service.signal(signal.SIGINT)
    eventually(lambda: ("SIGTERM", "stuck") in service.events())
    service.signal(signal.SIGINT)
    assert service.ended() == 0
    assert "killing stuck, which has not stopped yet" in service.log()


def test_one_that_dies_is_started_again_and_the_others_are_left_alone(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    os.kill(service.pids("worker")[0], signal.SIGKILL)
    eventually(lambda: len(service.pids("worker")) == 2)
    assert re.search(r"worker died.*\(SIGKILL\), starting it again", service.log())
    assert len(service.pids("store")) == len(service.pids("front")) == 1


def test_one_that_exits_by_itself_is_started_again_too(service: Service) -> None:
    service.start(shell("short", "echo x >> runs"))
    eventually(lambda: (service.folder / "runs").exists() and len((service.folder / "runs").read_text()) >= 6)


def test_one_that_keeps_dying_waits_longer_each_time_and_the_log_says_why(service: Service) -> None:
    service.start(shell("broken", "exit 3"))
    pattern = r"broken died right after its start \(exit status 3: disk full\), starting it again in ([\d.]+) s"
    waits: Callable[[], list[str]] = lambda: re.findall(pattern, service.log())  # noqa: E731
    eventually(lambda: len(waits()) >= 4)
    assert waits()[:4] == ["0.1", "0.2", "0.4", "0.8"]


def test_one_that_can_not_be_started_is_tried_again_and_again(service: Service) -> None:
    absent = str(service.folder / "absent")
    service.start({"name": "absent", "command": [absent], "rank": 1, "stop_seconds": 5}, program("other", 2))
    eventually(lambda: service.log().count("absent died right after its start (can't find command") >= 3)
    service.started("other")
    service.signal(signal.SIGTERM)
    assert service.ended() == 0


def test_it_stops_at_once_while_a_program_waits_for_its_next_start(service: Service) -> None:
    service.start(shell("broken", "exit 3"))
    eventually(lambda: "starting it again in 1.6 s" in service.log())
    service.signal(signal.SIGTERM)
    assert service.ended() == 0


def test_when_it_is_killed_its_programs_go_with_it(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    pids = [service.pids(name)[0] for name in ("store", "worker", "front")]
    service.signal(signal.SIGKILL)
    service.ended()
    eventually(lambda: all(map(is_gone, pids)))
    assert not [word for word, _ in service.events() if word != "start"]


def test_a_program_started_anew_goes_with_it_as_well(service: Service) -> None:
    service.start(program("worker", 1))
    service.started("worker")
    os.kill(service.pids("worker")[0], signal.SIGKILL)
    eventually(lambda: len(service.pids("worker")) == 2)
    service.signal(signal.SIGKILL)
    service.ended()
    eventually(lambda: is_gone(service.pids("worker")[1]))


def test_when_the_look_finds_the_service_unfit_all_is_stopped_in_order(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    (service.folder / "give-up").touch()
    assert service.ended() == 1
    assert "refused: the test said so" in service.log()
    assert [name for word, name in service.events() if word == "gone"] == ["front", "worker", "store"]


def test_a_hangup_is_the_callers_and_stops_nothing(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    service.signal(signal.SIGHUP)
    eventually(lambda: "hung up" in service.log())
    assert {word for word, _ in service.events()} == {"start"}


def test_one_that_is_added_is_healed_and_stops_with_its_rank(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    service.order("add", program("late", 2), False)
    service.started("late")
    os.kill(service.pids("late")[0], signal.SIGKILL)
    eventually(lambda: len(service.pids("late")) == 2)
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    gone = [name for word, name in service.events() if word == "gone"]
    assert (gone[0], set(gone[1:3]), gone[3]) == ("front", {"late", "worker"}, "store")


def test_one_that_is_retired_stops_and_is_not_started_again(service: Service) -> None:
    service.start(program("old", 1), program("other", 1))
    service.started("old", "other")
    service.order("retire", "old")
    eventually(lambda: ("gone", "old") in service.events())
    service.order("add", program("new", 1), False)
    service.started("new")
    assert len(service.pids("old")) == 1
    assert "died" not in service.log()


def test_one_on_trial_is_not_started_again_until_it_is_trusted(service: Service) -> None:
    service.start(program("other", 1))
    service.started("other")
    service.order("add", program("new", 1), True)
    service.started("new")
    service.order("trust", "new")
    service.order("signal", "new", "SIGTERM")
    eventually(lambda: len(service.pids("new")) == 2)
    service.order("add", shell("broken", "exit 3"), True)
    eventually(lambda: "broken died right after its start (exit status 3: disk full)\n" in service.log())
    service.order("retire", "broken")
    service.order("add", program("last", 1), False)
    service.started("last")
    assert service.log().count("broken died") == 1


def test_programs_write_to_the_same_output(service: Service) -> None:
    service.start(shell("talker", "echo out loud; echo in error >&2; sleep 60"))
    eventually(lambda: {"out loud", "in error"} <= set(service.log().splitlines()))


def test_programs_get_the_variables_they_are_given_whatever_is_in_them(service: Service) -> None:
    value = 'a b %(here)s % %% "quoted" ; # \\ é'
    service.start(shell("printer", 'printf "%s\\n" "$VALUE"; sleep 60'), VALUE=value)
    eventually(lambda: value in service.log().splitlines())


def test_nothing_is_written(service: Service) -> None:
    service.start(program("worker", 1), REDIS_URL="redis://:canary@localhost")
    service.started("worker")
    assert set(os.listdir(service.folder)) == {"events", "log"}


def test_only_the_program_that_should_keeps_an_open_file(service: Service) -> None:
    script = "ls -l /proc/self/fd | grep -c /kept > count-$NAME; sleep 60"
    opener = SUPERVISE.replace("made =", "import os; kept = os.open(folder / 'kept', os.O_CREAT | os.O_RDONLY)\nmade =")
    opener = opener.replace("**program)", "keep_fd=kept if program['name'] == 'one' else None, **program)")
    programs = [shell(name, f"NAME={name}; {script}") for name in ("one", "two")]
    with (service.folder / "log").open("ab") as log:
        service.process = subprocess.Popen(
            [sys.executable, "-c", opener, service.folder, json.dumps(programs), "{}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=service.folder,
            stdout=log,
            stderr=log,
        )
    counts = [service.folder / "count-one", service.folder / "count-two"]
    eventually(lambda: all(count.exists() and count.read_text() for count in counts))
    assert [count.read_text().strip() for count in counts] == ["1", "0"]


def test_it_says_nothing_but_what_it_should(service: Service) -> None:
    service.start(*THREE)
    service.started("store", "worker", "front")
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    assert service.log() == "stopping\n"
