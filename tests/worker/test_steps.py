"""Workflows with steps, in a real worker: order, values, conditions, what each kind of step gets and gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps, statuses, step_of
from trigger import store
from trigger.store import Status


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def test_a_list_of_steps_runs_in_order_and_each_uses_what_was_put_out_before(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: quote, python: "work:add", with: {a: "{{ input.price }}", b: 2}}
        - {name: order, run: [sh, -c, 'echo "{\\"total\\": $TOTAL}"'], env: {TOTAL: "{{ steps.quote.output }}"}}
        - name: tell
          python: "work:give"
          with: {text: "total {{ steps.order.output.total }}", raw: "{{ steps.order.output }}"}
        """
    )
    rig.start()
    record = rig.succeeds("it", {"price": 40})
    assert record.output == {"text": "total 42", "raw": {"total": 42}}
    assert [(s.name, s.kind, s.status, s.attempts, s.output) for s in record.steps] == [
        ("quote", "python", "succeeded", 1, 42),
        ("order", "run", "succeeded", 1, {"total": 42}),
        ("tell", "python", "succeeded", 1, record.output),
    ]
    moments = [record.created_at, record.started_at]
    moments += [moment for step in record.steps for moment in (step.started_at, step.ended_at)]
    moments.append(record.ended_at)
    assert moments == sorted(moments, key=str)
    assert record.attempt == 1
    rig.nothing_is_left()


def test_a_callable_without_with_gets_the_input(rig: Steps) -> None:
    rig.steps(it="- {name: one, python: 'work:echo'}", other="- {name: one, python: 'work:waits'}")
    rig.start()
    assert rig.succeeds("it", {"sku": ["A1", None]}).output == {"sku": ["A1", None]}
    assert rig.succeeds("other").output == "waited"


def test_a_program_gets_the_input_on_stdin_and_a_clean_environment(rig: Steps) -> None:
    (rig.folder / "show.py").write_text(
        "#!/usr/bin/env python3\n"
        "import json, os, sys\n"
        "shown = {'in': json.load(sys.stdin), 'env': dict(os.environ), 'cwd': os.getcwd(), 'argv': sys.argv[1:]}\n"
        "print(json.dumps(shown))\n"
    )
    (rig.folder / "show.py").chmod(0o755)
    (rig.folder / "sub").mkdir()
    rig.steps(
        it="""
        - {name: one, run: [./show.py, "{{ input.sku }}", "$HOME; x", "*"], cwd: sub, env: {OWN: "{{ input.n + 1 }}"}}
        """
    )
    rig.start(SECRET_OF_THE_SERVICE="x")
    record = rig.succeeds("it", {"sku": "A1; rm -rf /", "n": 1})
    output = record.output
    assert output["in"] == {"sku": "A1; rm -rf /", "n": 1}
    assert output["argv"] == ["A1; rm -rf /", "$HOME; x", "*"]
    assert output["cwd"] == str(rig.folder / "sub")
    env = output["env"]
    assert (
        env.items()
        >= {
            "TRIGGER_UID": record.uid,
            "TRIGGER_MODULE": "shop",
            "TRIGGER_METHOD": "it",
            "TRIGGER_STEP": "one",
            "TRIGGER_ATTEMPT": "1",
            "OWN": "2",
        }.items()
    )
    assert "PATH" in env
    assert not {name for name in env if name in ("SECRET_OF_THE_SERVICE", "REDIS_URL", "TRIGGER_CONFIG")}


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("true", ""),
        ('printf "%s" ""', ""),
        ("echo", ""),
        ("echo null", None),
        ("echo hello", "hello"),
        ("printf 'two\\nlines\\n\\n'", "two\nlines"),
        ("echo '[1, 2.5, null]'", [1, 2.5, None]),
        ("echo 007", "007"),
        ("echo NaN", "NaN"),
        ("echo '{\"a\": 1'", '{"a": 1'),
        ("printf '\\377\\000x'", "\N{REPLACEMENT CHARACTER}\x00x"),
        ("cat > /dev/null; echo late", "late"),
        ('python3 -c \'print("[" * 900 + "]" * 900)\'', "[" * 900 + "]" * 900),
    ],
)
def test_the_output_of_a_program_is_what_it_prints_parsed_when_it_is_json(
    rig: Steps, script: str, output: object
) -> None:
    (rig.folder / "script").write_text(script)
    rig.steps(it="- {name: one, run: [sh, script]}")
    rig.start()
    assert rig.succeeds().output == output


def test_a_program_that_fails_says_with_what(rig: Steps) -> None:
    rig.steps(
        ends="- {name: one, run: [sh, -c, 'echo said; echo why >&2; exit 3']}",
        shot="- {name: one, run: [sh, -c, 'kill -9 $$']}",
        gone="- {name: one, run: [./gone]}",
        windows="- {name: one, run: [./windows]}",
    )
    rig.set("crashes: 2")
    (rig.folder / "windows").write_bytes(b"#!/bin/sh\r\necho x\r\n")
    (rig.folder / "windows").chmod(0o755)
    (rig.folder / "gone").write_text("#!/no/such/interpreter\n")
    (rig.folder / "gone").chmod(0o755)
    rig.start()
    record = rig.fails("ends")
    assert record.error == {"class": "ExitStatus", "message": "step one: sh ended with exit status 3", "step": "one"}
    assert [(line.stream, line.text) for line in rig.lines(record.uid)] == [("stdout", "said"), ("stderr", "why")]
    assert (rig.fails("shot").error or {})["message"] == "step one: was killed by SIGKILL"
    said = (rig.fails("gone").error or {})["message"]
    assert "'./gone' can't be started" in said
    assert "is a script for /no/such/interpreter, which is not on this machine" in said
    assert "has the line ends of Windows (CR LF)" in (rig.fails("windows").error or {})["message"]


def test_a_step_that_raises_fails_with_its_reason_and_the_rest_is_skipped(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: one, python: "work:give", with: {x: 1}}
        - {name: two, python: "work:fails"}
        - {name: three, python: "work:mark", with: {}}
        """
    )
    rig.start()
    record = rig.fails("it", {"sku": "A1"})
    assert record.error == {"class": "ValueError", "message": "step two: no stock of A1", "step": "two"}
    assert record.traceback
    assert 'work.py", line' in record.traceback
    assert statuses(record) == {"one": "succeeded", "two": "failed", "three": "skipped"}
    two = step_of(record, "two")
    assert two.error == {"class": "ValueError", "message": "no stock of A1"}
    assert two.traceback
    assert step_of(record, "three").because == "two failed"
    assert not rig.marks(record.uid)


def test_an_undefined_name_fails_the_step_and_is_named_with_its_expression(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: one, python: "work:give", with: {x: 1}}
        - {name: two, run: [echo, "{{ steps.one.output.y }}"]}
        """
    )
    rig.start()
    record = rig.fails()
    assert record.error == {
        "class": "TemplateError",
        "message": "step two: {{ steps.one.output.y }}: 'y' is undefined",
        "step": "two",
    }


def test_steps_without_open_needs_run_at_the_same_time(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:meet", with: {others: 3}}
        - {name: b, python: "work:meet", with: {others: 3}}
        - {name: c, python: "work:meet", with: {others: 3}}
        - {name: d, python: "work:mark", with: {}, needs: [a, b, c]}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert rig.marks(record.uid) == {"d": 1}
    began = step_of(record, "d").started_at or ""
    assert all((step.ended_at or "") <= began for step in record.steps[:3])


def test_no_more_run_at_the_same_time_than_parallel_says(rig: Steps) -> None:
    steps = "\n".join(
        f"  - {{name: s{n}, run: [sh, -c, 'echo x >> now; wc -l < now; sleep 0.1; sed -i 1d now']}}" for n in range(7)
    )
    rig.steps(it=f"parallel: 1\nsteps:\n{steps}\n  - {{name: last, run: [cat, now], needs: [s0]}}")
    rig.start()
    record = rig.succeeds()
    assert [step.output for step in record.steps[:7]] == [1] * 7


def test_a_step_whose_condition_is_false_is_skipped_and_what_needs_it_runs(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {}, when: "{{ input.n > 1 }}"}
        - {name: b, python: "work:give", with: {a: "{{ steps.a.output }}", status: "{{ steps.a.status }}"}}
        """
    )
    rig.start()
    record = rig.succeeds("it", {"n": 1})
    assert statuses(record) == {"a": "skipped", "b": "succeeded"}
    assert (step_of(record, "a").because, step_of(record, "a").attempts) == ("its `when` is false", 0)
    assert record.output == {"a": None, "status": "skipped"}
    assert not rig.marks(record.uid)
    assert rig.marks(rig.succeeds("it", {"n": 2}).uid) == {"a": 1}


def test_a_step_that_may_fail_does_not_keep_the_rest_from_running(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, run: [sh, -c, exit 4], continue_on_error: true}
        - {name: b, python: "work:give", with: {was: "{{ steps.a.status }}", error: "{{ steps.a.error.class }}"}}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert statuses(record) == {"a": "failed", "b": "succeeded"}
    assert record.output == {"was": "failed", "error": "ExitStatus"}


def test_what_does_not_need_a_failed_step_runs_all_the_same(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, run: [sh, -c, exit 4]}
        - {name: b, python: "work:mark", with: {}}
        - {name: c, python: "work:mark", with: {}, needs: [b]}
        - {name: d, python: "work:mark", with: {}, needs: [a, c]}
        - {name: e, python: "work:mark", with: {}, needs: [d]}
        """
    )
    rig.start()
    record = rig.fails()
    assert rig.marks(record.uid) == {"b": 1, "c": 1}
    assert [step_of(record, name).because for name in "de"] == ["a failed", "a failed"]


def test_after_a_failure_the_last_steps_run_in_order_and_know_why(rig: Steps) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, run: [sh, -c, exit 4]}
          - {name: b, python: "work:mark", with: {}}
        on_failure:
          - {name: alert, run: [echo, "{{ error.step }}/{{ error.class }}/{{ error.message }}/{{ steps.b.status }}"]}
          - {name: breaks, run: [sh, -c, exit 5]}
          - {name: clean, python: "work:mark", with: {}}
        """,
        well="""
        steps:
          - {name: a, python: "work:mark", with: {}}
        on_failure:
          - {name: alert, python: "work:mark", with: {}}
        """,
    )
    rig.start()
    record = rig.fails()
    assert (record.error or {})["step"] == "a"
    assert step_of(record, "alert").output == "a/ExitStatus/step a: sh ended with exit status 4/skipped"
    assert statuses(record) == {
        "a": "failed",
        "b": "skipped",
        "alert": "succeeded",
        "breaks": "failed",
        "clean": "succeeded",
    }
    assert rig.marks(record.uid) == {"clean": 1}
    well = rig.succeeds("well")
    assert rig.marks(well.uid) == {"a": 1}
    assert step_of(well, "alert").because == "the workflow has not failed"


def test_what_a_step_says_is_in_the_log_by_name_and_attempt(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: talks, python: "work:talks", with: {}}
        - {name: more, run: [sh, -c, 'echo one; echo two >&2']}
        """
    )
    rig.start()
    uid = rig.succeeds().uid
    lines = {(line.step, line.stream, line.level, line.text) for line in rig.lines(uid)}
    assert lines == {
        ("talks", "stdout", "", "printed"),
        ("talks", "stderr", "", "an error"),
        ("talks", "log", "WARNING", "shop: logged"),
        ("talks", "log", "INFO", "by the execution's logger"),
        ("talks", "stdout", "", "written"),
        ("talks", "stdout", "", "by a program"),
        ("more", "stdout", "", "one"),
        ("more", "stderr", "", "two"),
    }
    assert 0 < rig.redis.ttl(store.LOG + uid) <= 3600
    assert 0 < rig.redis.ttl(store.STEPS + uid) <= 3600


def test_the_log_can_be_read_while_a_step_runs(rig: Steps) -> None:
    rig.steps(it="- {name: a, run: [sh, -c, 'echo begun; while [ ! -e go ]; do sleep 0.01; done; echo done']}")
    rig.start()
    uid = rig.submit("it")
    eventually(lambda: [line.text for line in rig.lines(uid)] == ["begun"])
    record = rig.record(uid)
    assert (record.status, statuses(record)) == (Status.RUNNING, {"a": "running"})
    (rig.folder / "go").touch()
    rig.ended(uid)
    assert [line.text for line in rig.lines(uid)] == ["begun", "done"]


def test_secrets_are_masked_in_logs_steps_and_errors(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, run: [sh, -c, 'cat; echo "$KEY"'], env: {KEY: "${KEY}"}}
        - {name: b, run: [sh, -c, 'echo "$1"; exit 1', sh, "{{ input.card }}"]}
        - {name: c, python: "work:fails"}
        """,
        raises="- {name: c, python: 'work:fails'}",
    )
    rig.start(KEY="canary-0815")
    secret = "canary-4711"
    for workflow, value in (("it", {"card": secret}), ("raises", {"sku": secret})):
        uid = rig.submit(workflow, value, secrets=[["card"], ["sku"]])
        rig.ended(uid)
        shown = store.read(rig.redis, uid, ("canary-0815",))
        assert "canary" not in f"{rig.redis.xrange(store.LOG + uid)}"
        assert "canary" not in f"{shown}"
    assert "canary" not in rig.log()


def test_a_step_ends_with_all_it_has_started(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:leaves_family", with: {}}
        - {name: b, run: [sh, -c, 'for p in $(cat pids); do kill -0 $p 2>/dev/null && echo $p; done; true']}
        """
    )
    rig.start()
    record = rig.succeeds()
    assert len((rig.folder / "pids").read_text().split()) == 2
    assert record.output == ""


def test_a_step_in_python_waits_for_its_threads(rig: Steps) -> None:
    rig.steps(it="- {name: a, python: 'work:threads', with: {}}")
    rig.start()
    assert rig.marks(rig.succeeds().uid) == {"a-thread": 1}


def test_a_step_that_ends_its_own_process_fails_and_nothing_else_does(rig: Steps) -> None:
    rig.steps(
        shot="- {name: a, python: 'work:kills_itself', with: {}}",
        left="- {name: a, python: 'work:leaves'}",
        quits="- {name: a, python: 'work:exits'}",
        well="- {name: a, python: 'work:mark', with: {}}",
    )
    rig.set("crashes: 2")
    worker = rig.start()
    assert (rig.fails("shot").error or {})["message"] == "step a: was killed by SIGKILL"
    assert (rig.fails("left").error or {})[
        "message"
    ] == "step a: its process ended with exit status 0 before it returned"
    assert (rig.fails("quits").error or {})["class"] == "SystemExit"
    rig.succeeds("well")
    assert worker.poll() is None
    assert "child died" not in rig.log()


def test_outputs_that_are_no_json_or_too_large_do_no_harm(rig: Steps) -> None:
    rig.steps(
        none="- {name: a, python: 'work:not_json'}",
        deep="- {name: a, python: 'work:deep', with: {}}",
        huge="- {name: a, python: 'work:huge', with: {}}",
        program="- {name: a, run: [sh, -c, 'head -c 100000000 /dev/zero | tr \"\\\\0\" x']}",
    )
    worker = rig.start()
    assert (rig.fails("none").error or {})["class"] == "OutputError"
    assert "deeper than 200" in (rig.fails("deep").error or {})["message"]
    record = rig.succeeds("huge", within=60)
    assert record.output == {"truncated": True, "bytes": 100_000_002, "beginning": '"' + "x" * 999}
    record = rig.succeeds("program", within=60)
    assert record.output == {"truncated": True, "bytes": 100_000_000, "beginning": "x" * 1000}
    assert (rig.redis.memory_usage(store.LOG + record.uid) or 0) < 3 * 1024 * 1024
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 150_000  # kB; a step of it held 100 MB, twice


@pytest.mark.parametrize("step", ["python: 'work:floods', with: {lines: 200000}", "run: [seq, '200000']"])
def test_of_many_lines_the_newest_are_kept(rig: Steps, step: str) -> None:
    rig.steps(it=f"- {{name: a, {step}}}")
    rig.start()
    uid = rig.succeeds(within=100, timeout=100).uid
    lines = rig.lines(uid)
    assert lines[-1].text in ("line 199999", "200000")
    assert len(lines) > 5_000
    assert (rig.redis.memory_usage(store.LOG + uid) or 0) < 3 * 1024 * 1024


def test_of_each_api_no_more_records_are_kept_than_the_config_says(rig: Steps) -> None:
    rig.configure("  it: {steps: [{name: a, run: [echo, x]}]}\n", top="keep: 2\n")
    rig.start()
    uids = [rig.succeeds().uid for _ in range(5)]
    eventually(lambda: not any(store.read(rig.redis, uid) for uid in uids[:3]))
    assert [uid for uid in uids if store.read(rig.redis, uid) is not None] == uids[3:]
    assert not rig.redis.exists(*(key + uid for uid in uids[:3] for key in (store.STEPS, store.LOG)))
