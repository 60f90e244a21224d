"""From the valid declaration of a workflow to its value: what steps need is resolved here, and digests are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trigger import templates
from trigger.config.document import Document
from trigger.config.model import Action, HttpAction, PythonAction, RunAction, Step, Workflow
from trigger.config.step_rules import resolved, texts
from trigger.config.written import as_written, called

_OF_STEP = ("when", "timeout", "retry", "continue_on_error")  # keys that a Step takes as they are


def workflow_of(document: Document, name: str, given: Mapping[str, Any], raw: Any) -> Workflow:
    """The workflow that `given`, as the schema loaded it, declares. `raw` is the same as the document has it."""
    rest = dict(given)
    declared = raw if isinstance(raw, dict) else {"python": raw}
    env = rest.pop("env", {})
    steps, last = rest.pop("steps", ()), rest.pop("on_failure", ())
    where = ("workflows", name)
    needs = resolved([step.get("needs") for step in steps], [step["name"] for step in steps])
    return Workflow(
        name=name,
        python=rest.pop("python", None),
        steps=_steps(document, (*where, "steps"), steps, declared.get("steps"), needs, env),
        on_failure=_steps(document, (*where, "on_failure"), last, declared.get("on_failure"), [()] * len(last), env),
        about=as_written(declared.get("description", "")),
        calls=as_written(declared.get("python", "")),
        line=document.place(where)[0],
        **rest,
    )


def _steps(
    document: Document,
    where: tuple[str, ...],
    declared: Sequence[Mapping[str, Any]],
    raw: Any,
    needs: Sequence[tuple[str, ...]],
    env: Mapping[str, str],
) -> tuple[Step, ...]:
    found = []
    for index, given in enumerate(declared):
        own = {**env, **given.get("env", {})}
        action = _action(given)
        more = {key: given[key] for key in _OF_STEP if key in given}
        found.append(
            Step(
                name=given["name"],
                action=action,
                needs=needs[index],
                env=own,
                digest=_digest(given, action, needs[index], own),
                calls=called(action, raw[index]),
                line=document.place((*where, index, "name"))[0],
                fixed=frozenset(variable for variable, text in own.items() if not templates.is_open(text)),
                **more,
            )
        )
    return tuple(found)


def _action(given: Mapping[str, Any]) -> Action:
    if "python" in given:
        return PythonAction(given["python"], given.get("with"))
    if "run" in given:
        return RunAction(tuple(given["run"]), given.get("cwd"), given.get("stdin", "input"))
    return HttpAction(**given["http"])


def _digest(given: Mapping[str, Any], action: Action, needs: tuple[str, ...], env: Mapping[str, str]) -> str:
    """Return a digest of all that a step does. How long and how often it is tried makes no difference.

    A program is given all of `env`; of another step, only the names that its templates use make a difference.
    """
    if not isinstance(action, RunAction):
        used = templates.names([text for key in ("with", "http", "when") for _, text in texts(given.get(key))])
        env = env if "env" in used.whole else {name: env[name] for name in used.env if name in env}
    done = asdict(action)
    if done.get("stdin") == "input":
        del done["stdin"]  # steps that were done before there was this key are still the same
    declared = [given["name"], done, given.get("when"), needs, env]
    written = json.dumps(declared, sort_keys=True, default=repr)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:16]
