"""Real workers on a real Redis, with workflows that leave evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.forks import Process
from tests.support import CONFIG, WORKFLOWS, entries, environment, eventually, process
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.store.queueing import Call, Submitter


class Rig:
    """One queue with as many workers as a test starts. Its workflows are the functions of tests.support.WORKFLOWS."""

    def __init__(self, folder: Path, redis: Redis, url: str) -> None:
        self.folder, self.redis, self.url = folder, redis, url
        self._stack = ExitStack()
        (folder / "work.py").write_text(WORKFLOWS)
        self.configure()

    def configure(self, workflows: str = "", retention: str = "1h") -> None:
        """Writes the config: each function of the module by its name, and what `workflows` adds."""
        names = [line[4:].partition("(")[0] for line in WORKFLOWS.splitlines() if line.startswith("def ")]
        lines = [f"  {name}: work:{name}" for name in names if name != "note"]
        (self.folder / "config.yaml").write_text(
            f"retention: {retention}\nmodules: {{}}\nworkflows:\n"
            + "\n".join(lines)
            + "\n  waits: work:waits\n"
            + workflows
        )

    def set(self, line: str) -> None:
        """Adds a line to the top of the config."""
        config = self.folder / "config.yaml"
        config.write_text(f"{line}\n{config.read_text()}")

    def start(self, **environ: str) -> Process:
        """Starts one more worker, and waits until Redis knows it."""
        before = self.redis.scard("rq:workers:default")
        child = self._stack.enter_context(
            process(["worker"], environment(self.folder, self.url, **environ), self.folder / "log")
        )
        eventually(lambda: self.redis.scard("rq:workers:default") > before)
        return child

    def submit(
        self,
        workflow: str,
        value: Any = None,
        *,
        timeout: float = 60,
        secrets: Any = (),
        queue: str = "default",
        request: str | None = None,
    ) -> str:
        """Accepts one execution of a workflow and returns its uid."""
        described = Workflow(name=workflow, python=f"work:{workflow}", timeout=timeout, queue=queue)
        api = Api(module="shop", method=workflow, auth=NoAuth(), workflow=described)
        call = Call(api, {} if value is None else value, "tester", secrets, request=request)
        return Submitter(self.redis).submit(call, CONFIG).uid

    def record(self, uid: str) -> store.Record:
        record = store.read(self.redis, uid)
        assert record is not None
        return record

    def ended(self, uid: str, within: float = 30) -> store.Record:
        """The record, once it is final."""
        eventually(lambda: self.record(uid).status in store.FINAL, within=within)
        return self.record(uid)

    def evidence(self) -> Counter[str]:
        """The lines that the workflows have written themselves, counted."""
        path = self.folder / "evidence"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def entries(self, uid: str) -> list[dict[str, Any]]:
        """What the log says of an execution, of workers whose log is JSON."""
        return entries(self.folder / "log", uid)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: Any) -> Iterator[Rig]:
    rig = Rig(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


@pytest.fixture
def run(rig: Rig) -> Callable[..., store.Record]:
    """Runs one workflow in a worker, to its end."""
    rig.start()

    def run(workflow: str, value: Any = None, **options: Any) -> store.Record:
        return rig.ended(rig.submit(workflow, value, **options))

    return run
