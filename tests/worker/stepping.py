"""Workers whose workflows have steps: the steps' own code, and a rig that writes configs of them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.processes import children
from tests.forks import Process
from tests.support import CONFIG
from tests.worker.conftest import Rig
from trigger import store
from trigger.config import Api, Config, NoAuth, load
from trigger.inputs import Shape
from trigger.store import Record, Status, StepRecord, acts
from trigger.store.log_reading import Line, read
from trigger.store.queueing import Submitter

# The callables of python steps, added to tests.support.WORKFLOWS.
STEPS = r'''
import contextvars, decimal, json, logging, resource, threading


def mark(word="", **more):
    """One line in the evidence: the step and what it is told to say."""
    line = f"{current().step}{word} {current().uid}\n".encode()
    fd = os.open(EVIDENCE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line)
    os.close(fd)
    return {"step": current().step, "attempt": current().attempt, **more}


def give(**values):
    return values


def add(a, b=1):
    return a + b


def meet(others, within=20):
    """Waits until so many have come here: only steps that run at the same time do."""
    (EVIDENCE.parent / f"met-{current().uid}-{current().step}").touch()
    deadline = time.monotonic() + within
    while len(list(EVIDENCE.parent.glob(f"met-{current().uid}-*"))) < others:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.005)


def until_go(word=""):
    mark(word)
    while not (EVIDENCE.parent / "go").exists():
        time.sleep(0.005)
    return "gone on"


def fails_until(good, kind="RuntimeError"):
    mark()
    if current().attempt < good:
        raise {"RuntimeError": RuntimeError, "ConnectionRefusedError": ConnectionRefusedError}[kind](
            f"attempt {current().attempt}")
    return current().attempt


def lights(on):
    """Lights the fuse of the worker (tests.faults) in one step, once."""
    mark()
    lit = EVIDENCE.parent / f"lit-{current().uid}"
    if current().step == on and not lit.exists():
        lit.touch()
        (EVIDENCE.parent / "fuse").touch()
    return current().step


def dawdles(seconds=0.05):
    mark()
    time.sleep(seconds)
    return {"at": time.time()}


def hangs():
    mark()
    time.sleep(60)


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark()
    while True:
        time.sleep(60)


def tidy():
    try:
        mark()
        time.sleep(60)
    finally:
        mark("-tidied")


def kills_itself():
    mark()
    os.kill(os.getpid(), signal.SIGKILL)


def kills_child_once():
    mark()
    if current().attempt == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def leaves_family():
    """Starts a process in the background, and one in a session of its own that closes all it has inherited."""
    script = "import os, time, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(300)"
    pids = str(EVIDENCE.parent / "pids")
    subprocess.Popen([sys.executable, "-c", script, pids])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            os.execv(sys.executable, [sys.executable, "-c", script, pids])
        os._exit(0)
    while not Path(pids).exists() or len(Path(pids).read_text().split()) < 2:
        time.sleep(0.01)
    mark()


def stays_with_family():
    leaves_family()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def huge():
    return "x" * 100_000_000


def deep():
    value = []
    for _ in range(900):
        value = [value]
    return value


def talks():
    print("printed")
    print("an error", file=sys.stderr)
    logging.getLogger("shop").warning("logged")
    current().logger.info("by the execution's logger")
    os.write(1, b"written\n")
    subprocess.run(["echo", "by a program"])


def threads():
    def later():
        time.sleep(0.2)
        mark("-thread")
    threading.Thread(target=contextvars.copy_context().run, args=[later]).start()


async def waits_too():
    return "awaited"


SEEN = []


def remembers(**more):
    """Which steps this process has run."""
    SEEN.append(current().step)
    return SEEN[:]


def litters(what):
    """Leaves something behind in its process."""
    SEEN.append(what)
    match what:
        case "a thread":
            threading.Thread(target=time.sleep, args=[60], daemon=True).start()
        case "a child":
            subprocess.Popen(["sleep", "60"])
        case "another folder":
            os.chdir("/")
        case "another umask":
            os.umask(0o123)
        case "a handler":
            signal.signal(signal.SIGTERM, lambda *_: None)
        case "an ignored signal":
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # not SIGHUP, which nohup has ignored already
        case "a timer":
            signal.alarm(60)
        case "a limit":
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        case "another stdout":
            sys.stdout = open(os.devnull, "w")
        case "no stdout":
            sys.stdout = None
        case "a fork":
            if (pid := os.fork()) != 0:
                os.waitpid(pid, 0)
            else:
                SEEN.append("forked")
        case "a broken module":
            os.getcwd = None
        case "a closed stdout":
            sys.stdout.close()
        case "another descriptor 1":
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        case "a handler of logs":
            logging.basicConfig(force=True)
        case "much memory":
            SEEN.append(b"x" * (300 << 20))
        case "a failure":
            raise ValueError(what)
        case "nothing in time":
            time.sleep(60)
        case "variables":
            os.environ["LITTER"] = "x"
            del os.environ["PATH"]
            decimal.getcontext().prec = 2


def looks():
    """What the step before it has done to this process's variables."""
    return {"variables": ["LITTER" in os.environ, "PATH" in os.environ], "precision": decimal.getcontext().prec}


def changes(value):
    """Changes what it was given."""
    (value if isinstance(value, list) else value["list"]).append(current().step)
    return value


def mutters(word):
    """Writes lines that do not end."""
    print(word, "printed", end="")
    os.write(2, f"{word} written".encode())
    logging.getLogger("shop").warning(word)
    if current().attempt < 2 and word == "b":
        raise ValueError(word)


def floods(lines):
    for number in range(lines):
        print("line", number)
'''


class Steps(Rig):
    """A rig whose workflows are lists of steps."""

    def configure(self, workflows: str = "", retention: str = "1h", top: str = "") -> None:
        super().configure(workflows, retention)
        config = self.folder / "config.yaml"
        config.write_text(top + config.read_text())
        work = self.folder / "work.py"
        if "def mark(" not in work.read_text():
            work.write_text(work.read_text() + STEPS)

    def steps(self, **workflows: str) -> None:
        """Writes a config of workflows; each is the YAML of its value, a list of steps or a mapping."""
        text = ""
        for name, body in workflows.items():
            lines = [line for line in body.strip("\n").splitlines() if line.strip()]
            margin = min(len(line) - len(line.lstrip()) for line in lines)
            body = "\n".join(line[margin:] for line in lines)
            if body.startswith("-"):
                body = "steps:\n" + "\n".join(f"  {line}" for line in body.splitlines())
            text += f"  {name}:\n" + "\n".join(f"    {line}" for line in body.splitlines()) + "\n"
        self.configure(text, top="cancel_grace: 1s\n")

    def run(self, workflow: str = "it", value: Any = None, *, within: float = 30, **options: Any) -> Record:
        return self.ended(self.submit(workflow, value, **options), within)

    def succeeds(self, workflow: str = "it", value: Any = None, **options: Any) -> Record:
        record = self.run(workflow, value, **options)
        assert record.status is Status.SUCCEEDED, (record.error, self.log())
        return record

    def fails(self, workflow: str = "it", value: Any = None, **options: Any) -> Record:
        record = self.run(workflow, value, **options)
        assert record.status is Status.FAILED, self.log()
        return record

    def marks(self, uid: str) -> Counter[str]:
        """How often each step has left its mark."""
        pairs = {line.partition(" ")[::2]: count for line, count in self.evidence().items()}
        return Counter({word: count for (word, of), count in pairs.items() if of == uid})

    def lines(self, uid: str) -> list[Line]:
        page = read(self.redis, uid)
        lines = list(page.lines)
        while page.lines:
            page = read(self.redis, uid, page.next)
            lines += page.lines
        return lines

    def config(self) -> Config:
        """The config as it is now, with an API for each workflow that has steps."""
        loaded = load(self.folder / "config.yaml", os.environ)
        stepped = [workflow for workflow in loaded.workflows.values() if workflow.steps]
        apis = {("shop", w.name): Api("shop", w.name, NoAuth(), w, enabled=True) for w in stepped}
        return replace(loaded, apis=apis, server=CONFIG.server)

    def resume(self, uid: str) -> Record:
        """The record of an execution that goes on with another, once it is final."""
        parts = acts.Parts(self.redis, Submitter(self.redis), self.config(), lambda api: Shape(api.input))
        return self.ended(acts.resume(parts, uid).uid)

    def processes_of(self, words: str) -> list[str]:
        """The command lines of processes that hold these words."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            found += [line] if words in line else []
        return found

    def is_at_rest(self, worker: Process) -> bool:
        """Whether a worker has no processes but those that stand ready, each with its guardian and nothing below it."""
        guardians = children(worker.pid)
        performers = [pid for guardian in guardians for pid in children(guardian)]
        return len(guardians) == len(performers) <= 2 and not any(map(children, performers))

    def nothing_is_left(self) -> None:
        assert self.redis.zcard(store.leased_key("default")) == 0
        assert self.redis.zcard(store.waiting_key("default")) == 0
        assert self.redis.llen(store.POISON) == 0


def step_of(record: Record, name: str) -> StepRecord:
    return next(step for step in record.steps if step.name == name)


def statuses(record: Record) -> dict[str, str]:
    return {step.name: step.status for step in record.steps}
