"""The process that has run a step runs the next one, if it is as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps, statuses, step_of
from trigger.store import Status, acts


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def test_what_a_step_keeps_in_memory_is_there_for_the_next_also_of_another_execution(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:remembers", with: {}}
        - {name: b, python: "work:mark", with: {}, when: "{{ false }}"}
        - {name: c, python: "work:remembers", with: {}}
        - {name: d, run: [sh, -c, "true"]}
        - {name: e, python: "work:remembers", with: {}}
        """
    )
    worker = rig.start()
    before: list[str] = []
    for _ in range(2):
        record = rig.succeeds()
        outputs = [before + output for output in (["a"], ["a", "c"], ["a", "c", "e"])]
        assert [step.output for step in record.steps] == [outputs[0], None, outputs[1], "", outputs[2]]
        before = outputs[-1]
        eventually(lambda: rig.is_at_rest(worker))


@pytest.mark.parametrize(
    "what",
    [
        "a thread",
        "a child",
        "another folder",
        "another umask",
        "a handler",
        "an ignored signal",
        "a timer",
        "a limit",
        "another stdout",
        "no stdout",
        "a broken module",
        "a closed stdout",
        "another descriptor 1",
        "a handler of logs",
        "much memory",
        "a failure",
        "nothing in time",
    ],
)
def test_after_a_step_that_leaves_something_the_next_has_another_process(rig: Steps, what: str) -> None:
    timeout = ", timeout: 1s" if what == "nothing in time" else ""
    rig.steps(
        it=f"""
        - {{name: a, python: "work:remembers", with: {{}}}}
        - {{name: b, python: "work:litters", with: {{what: "{what}"}}, continue_on_error: true{timeout}}}
        - {{name: c, python: "work:talks", with: {{}}}}
        - {{name: d, python: "work:remembers", with: {{}}}}
        """
    )
    worker = rig.start()
    record = rig.succeeds()
    failed = what in ("a failure", "nothing in time")
    assert statuses(record) == {"a": "succeeded", "b": "failed" if failed else "succeeded"} | dict.fromkeys(
        "cd", "succeeded"
    )
    assert step_of(record, "d").output == ["d"]
    lines = {(line.step, line.text) for line in rig.lines(record.uid)}
    assert {("c", text) for text in ("printed", "written", "an error", "shop: logged")} <= lines
    eventually(lambda: rig.is_at_rest(worker))


def test_variables_are_as_they_were_for_each_step(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:litters", with: {what: variables}}
        - {name: b, python: "work:looks", with: {}}
        - {name: c, python: "work:remembers", with: {}, env: {OWN: "x"}}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert step_of(record, "b").output == {"variables": [False, True], "precision": 28}
    assert record.output == ["variables", "c"]  # it was one process


def test_a_fork_that_comes_back_from_a_step_is_not_the_step(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:litters", with: {what: "a fork"}}
        - {name: b, python: "work:remembers", with: {}}
        """
    )
    rig.start()
    assert rig.succeeds().output == ["a fork", "b"]


def test_a_step_that_changes_what_it_was_given_changes_it_for_itself(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:changes"}
        - {name: b, python: "work:changes", with: {value: "{{ steps.a.output.list }}"}}
        - {name: c, python: "work:changes", with: {value: "{{ steps.a.output }}"}}
        - {name: d, python: "work:changes"}
        - {name: e, python: "work:changes", with: {value: ["x"]}}
        """
    )
    rig.start()
    record = rig.succeeds("it", {"list": []})
    assert [step.output for step in record.steps] == [
        {"list": ["a"]},
        ["a", "b"],
        {"list": ["a", "c"]},
        {"list": ["d"]},
        ["x", "e"],
    ]


def test_what_each_step_writes_is_its_own_to_the_last_byte(rig: Steps) -> None:
    words = "abcd"
    retry = "retry: {attempts: 2, backoff: 1s}"
    rig.steps(
        it="\n".join(
            f"- {{name: {w}, python: 'work:mutters', with: {{word: {w}}}, needs: [], {retry}}}" for w in words
        ),
        one_by_one="\n".join(f"- {{name: {w}, python: 'work:mutters', with: {{word: {w}}}, {retry}}}" for w in words),
    )
    rig.start()
    for workflow in ("it", "one_by_one"):
        lines = rig.lines(rig.succeeds(workflow).uid)
        wanted = [
            (word, attempt, stream, text)
            for word in words
            for attempt in ((1, 2) if word == "b" else (1,))
            for stream, text in (
                ("stdout", f"{word} printed"),
                ("stderr", f"{word} written"),
                ("log", f"shop: {word}"),
            )
        ]
        assert sorted((line.step, line.attempt, line.stream, line.text) for line in lines) == sorted(wanted)


def test_a_process_is_told_of_outputs_whatever_their_size(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:remembers", with: {}}
        - {name: b, python: "work:give", with: {text: "{{ 'x' * 300000 }}"}}
        - {name: c, python: "work:give", with: {n: "{{ steps.b.output.text | length }}"}}
        - {name: d, run: [echo, "{{ steps.b.output.text | length }} {{ steps.c.output.n }}"]}
        - {name: e, python: "work:remembers", with: {said: "{{ steps.d.output }}"}}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert step_of(record, "c").output == {"n": 300000}
    assert step_of(record, "d").output == "300000 300000"
    assert record.output == ["a", "e"]


def test_steps_that_run_at_the_same_time_have_a_process_each(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:remembers", with: {}}
        - {name: b, python: "work:meet", with: {others: 2}, needs: [a]}
        - {name: c, python: "work:meet", with: {others: 2}, needs: [a]}
        - {name: d, python: "work:remembers", with: {}, needs: [b, c]}
        """
    )
    rig.start()
    assert rig.succeeds().output in (["a", "d"], ["d"])


def test_a_step_in_a_used_process_is_told_to_end_as_any(rig: Steps, redis: Redis) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {}}
        - {name: b, python: "work:stays_with_family", with: {}}
        """
    )
    worker = rig.start()
    uid = rig.submit("it")
    eventually(lambda: rig.marks(uid)["b"])
    acts.cancel(redis, uid, "ada")
    assert rig.ended(uid).status is Status.CANCELLED
    assert not [pid for pid in (rig.folder / "pids").read_text().split() if Path(f"/proc/{pid}").exists()]
    eventually(lambda: rig.is_at_rest(worker))


def test_the_steps_after_a_failure_share_a_process_too(rig: Steps) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, python: "work:remembers", with: {}}
          - {name: b, python: "work:litters", with: {what: "a failure"}}
        on_failure:
          - {name: c, python: "work:remembers", with: {}}
          - {name: d, python: "work:remembers", with: {why: "{{ error.message }}"}}
        """
    )
    rig.start()
    record = rig.fails()
    assert [step_of(record, name).output for name in "cd"] == [["c"], ["c", "d"]]
