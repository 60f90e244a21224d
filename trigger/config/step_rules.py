"""The rules that concern the steps of a workflow together: their names, needs, and the names in their templates."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from trigger import templates
from trigger.config.document import Document
from trigger.config.parts import did_you_mean
from trigger.config.scalars import shown

MAX_CYCLES = 20  # told of one workflow
REQUEST = ("id",)
EXECUTION = ("uid", "module", "method", "attempt", "request_id")
ERROR = ("step", "class", "message")
STEP = ("output", "status", "error")
LISTS = ("steps", "on_failure")
TEMPLATED = ("with", "run", "http", "when", "env")  # keys of a step whose texts may hold templates

# An expression that is just a variable, or just a text.
_TEXT = re.compile(r"""\{\{-?\s*(?:env\.\w+|env\[['"]\w+['"]\]|'[^']*'|"[^"]*")\s*-?\}\}\s*""")

Path = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A step as far as it is valid, at its place."""

    where: Path
    name: str
    given: Mapping[str, Any]
    needs: tuple[str, ...] | None  # as it says; None when it does not
    last: bool  # whether it is one of on_failure


def texts(value: Any, where: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(item, (*where, key))


def resolved(needs: Sequence[Sequence[str] | None], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the needs of each step: those it says, or in a list where none says any, the step before it."""
    if any(said is not None for said in needs):
        return [tuple(dict.fromkeys(said or ())) for said in needs]
    return [(names[index - 1],) if index else () for index in range(len(names))]


def check_steps(
    document: Document,
    name: str,
    given: Mapping[str, Any],
    raw: Any,
    fields: frozenset[str] | None,
    headers: frozenset[str] = frozenset(),
) -> None:
    """Report what is wrong between the steps of the workflow `name`.

    `given` is what the schema let through, `raw` what the document holds. `fields` are those that an input may have,
    None when it may have any; `headers` are those that its APIs declare.
    """
    steps = [step for key in LISTS for step in _read(("workflows", name, key), given.get(key), raw.get(key))]
    if steps:
        _Rules(document, ("workflows", name), given, steps, fields, headers).check()


def _read(where: Path, given: Any, raw: Any) -> Iterator[_Step]:
    if not isinstance(raw, list):
        return
    valid = given if isinstance(given, list) else []
    for index, declared in enumerate(raw):
        if isinstance(declared, dict):
            said = declared.get("needs")
            step_name = declared.get("name")
            yield _Step(
                where=(*where, index),
                name=str(step_name) if isinstance(step_name, str) else "",
                given=valid[index] if index < len(valid) and isinstance(valid[index], dict) else {},
                needs=tuple(one if isinstance(one, str) else "" for one in said) if isinstance(said, list) else None,
                last=where[-1] == "on_failure",
            )


@dataclass(slots=True)
class _Rules:
    document: Document
    where: Path
    given: Mapping[str, Any]
    steps: list[_Step]
    fields: frozenset[str] | None
    headers: frozenset[str]
    known: dict[str, _Step] = field(init=False, default_factory=dict)
    before: dict[Path, frozenset[str]] = field(init=False, default_factory=dict)  # by place: all that is done before

    def check(self) -> None:
        for step in self.steps:
            first = self.known.setdefault(step.name, step)
            if first is not step and step.name:
                line, _ = self.document.place((*first.where, "name"))
                self.report((*step.where, "name"), f"{shown(step.name)} is given twice; the first is at line {line}")
        self.known.pop("", None)
        self.check_needs()
        shared = self.given.get("env")
        for path, text in texts(shared, (*self.where, "env")):
            self.check_template(path, text, None)
        for step in self.steps:
            self.check_condition(step)
            for key in TEMPLATED:
                for path, text in texts(step.given.get(key), (*step.where, key)):
                    self.check_template(path, text, step)

    def check_needs(self) -> None:
        steps = [step for step in self.steps if not step.last]
        names = {step.name for step in steps} - {""}
        candidates = sorted(names)
        # One without a name, or with another's, stands in the order too, under a name that nobody can need.
        own = [step.name if self.known.get(step.name) is step else f" {index}" for index, step in enumerate(steps)]
        graph: dict[str, dict[str, None]] = {}
        for name, step, needed in zip(own, steps, resolved([step.needs for step in steps], own), strict=True):
            graph[name] = {one: None for one in needed if one in own and one != name}
            for index, one in enumerate(step.needs or ()):
                where = (*step.where, "needs", index)
                if one == step.name:
                    self.report(where, "is the step itself: it can't need itself")
                elif one in (step.needs or ())[:index]:
                    self.report(where, f"{shown(one)} is given twice")
                elif one and one not in names and one in self.known:
                    self.report(where, f"{shown(one)} runs only after the workflow has failed")
                elif one and one not in names:
                    hint = did_you_mean(one, candidates) or f"; there are {_few(candidates)}"
                    self.report(where, f"there is no step {shown(one)}{hint}")
        before: dict[str, frozenset[str]] = {}
        for name in self.cut_cycles(graph):
            before[name] = frozenset(graph[name]).union(*(before[one] for one in graph[name]))
        self.before = {step.where: before[name] for name, step in zip(own, steps, strict=True)}

    def cut_cycles(self, graph: dict[str, dict[str, None]]) -> list[str]:
        """Report circles, and cut them; the steps in an order in which they can run."""
        for _ in range(MAX_CYCLES):
            try:
                return list(TopologicalSorter(graph).static_order())
            except CycleError as error:
                circle = error.args[1][::-1]  # each needs the one after it; the last is the first again
            names = list(graph)
            start = min(range(len(circle) - 1), key=lambda at: names.index(circle[at]))
            circle = [*circle[start:-1], *circle[:start], circle[start]]
            self.report((*self.known[circle[0]].where, "needs"), f"this is a circle: {' needs '.join(circle)}")
            del graph[circle[0]][circle[1]]
        for needed in graph.values():
            needed.clear()
        return list(graph)

    def check_condition(self, step: _Step) -> None:
        """Report a condition that is a text whatever the execution is about: even 'false' would be true."""
        condition = step.given.get("when")
        if isinstance(condition, str) and _TEXT.fullmatch(condition):
            self.report(
                (*step.where, "when"),
                "is always a text, and every text but the empty one counts as true, 'false' too: "
                "compare it, as in {{ env.FLAG == 'true' }}",
            )

    def check_template(self, where: Path, text: str, step: _Step | None) -> None:
        """Report what a template uses that will not be there; `step` None: it is in the workflow's own env."""
        if not templates.is_template(text):
            return
        for path in sorted(templates.names(text).paths):
            wrong = self.wrong(path, step, in_env=step is None or where[len(step.where)] == "env")
            if wrong:
                hyphen = f"; a name with '-' is written as in input['{path[0]}']" if f"-{path[0]}" in text else ""
                self.report(where, f"{shown('.'.join(path))}: {wrong}{hyphen if len(path) == 1 else ''}")

    def wrong(self, path: tuple[str, ...], step: _Step | None, *, in_env: bool) -> str | None:
        root, name = path[0], path[1] if len(path) > 1 else None
        if root == "input":
            if name is None or self.fields is None or name in self.fields:
                return None
            return f"no API of this workflow has a field {shown(name)}{did_you_mean(name, self.fields)}"
        if root == "headers":
            return wrong_header(name, self.headers)
        if root == "request":
            return _one_of(name, REQUEST, "a request has")
        if root == "caller":
            return None
        if root == "steps":
            return "what all steps have can't use steps" if step is None else self.wrong_step(path, step)
        if root == "env":
            return "a value under env can't use env" if in_env else self.wrong_variable(name, step)
        if root == "execution":
            return _one_of(name, EXECUTION, "an execution has")
        if root == "error" and step is not None and step.last:
            return _one_of(name, ERROR, "an error has")
        if root == "error":
            return "is there only for the steps of on_failure"
        if root in self.known:
            return f"there is no such name; did you mean steps.{root}.output?"
        roots = [one for one in templates.ROOTS if one != "error" or (step is not None and step.last)]
        return f"there is no such name{did_you_mean(root, roots) or f'; there are {_few(roots)}'}"

    def wrong_step(self, path: tuple[str, ...], step: _Step) -> str | None:
        if len(path) == 1:
            return None  # which one, only running tells
        name = path[1]
        used = self.known.get(name)
        if used is None:
            reachable = sorted(self.known)
            return f"there is no step {shown(name)}{did_you_mean(name, reachable) or f'; there are {_few(reachable)}'}"
        if name == step.name:
            return "is the step itself"
        if used.last and not step.last:
            return "runs only after the workflow has failed"
        if used.last and used.where > step.where:
            return "runs later"
        if not step.last and name not in self.before.get(step.where, ()):
            plain = all(one.needs is None for one in self.steps)
            return "runs later" if plain else f"the step does not need {name}: add it to needs"
        if len(path) > 2 and path[2] not in STEP:
            return f"a step has {_few(STEP)}; did you mean {'.'.join((*path[:2], 'output', *path[2:]))}?"
        return None

    def wrong_variable(self, name: str | None, step: _Step | None) -> str | None:
        declared = {**(self.given.get("env") or {}), **((step.given.get("env") if step else None) or {})}
        if name is None or name in declared:
            return None
        return f"{shown(name)} is not declared: add it under env{did_you_mean(name, declared)}"

    def report(self, path: Path, message: str) -> None:
        self.document.report(path, message)


def wrong_header(name: str | None, declared: frozenset[str]) -> str | None:
    """What is wrong with `headers.NAME` where an API declares these; None for nothing."""
    if name is None or name in declared:
        return None
    near = did_you_mean(name, declared)
    return f"the API declares no header {shown(name)}: add it under headers, as {name}: X-Its-Name{near}"


def _one_of(name: str | None, names: Sequence[str], has: str) -> str | None:
    return None if name is None or name in names else f"{has} {_few(names)}{did_you_mean(name, names)}"


def _few(names: Sequence[str]) -> str:
    shown_names = ", ".join(names[:10])
    return f"{shown_names} and {len(names) - 10} more" if len(names) > 10 else shown_names or "none"
