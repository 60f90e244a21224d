"""The names that the templates of a step can use: see templates.ROOTS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger.templates import as_text, render


@dataclass(frozen=True, slots=True)
class Subject:
    """The data of one attempt at a step.

    `done` maps each step that is done to its status, output and error, and to whether the output was `truncated`;
    `error` is what the workflow failed with, for the steps of on_failure.
    """

    uid: str
    request_id: str
    module: str
    method: str
    attempt: int  # at the execution, counted from 1
    input: Any = field(repr=False)
    done: Mapping[str, Mapping[str, Any]] = field(repr=False)
    error: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)  # of the request, as its API declares
    caller: str | None = None

    def context(self, env: Mapping[str, str]) -> dict[str, Any]:
        """The names that templates begin with; `env` holds a step's own variables, as the config declares them."""
        execution = {name: getattr(self, name) for name in ("uid", "request_id", "module", "method", "attempt")}
        steps = {name: DoneStep(name, state) for name, state in self.done.items()}
        request = {"id": self.request_id}
        told = {"input": self.input, "headers": self.headers, "caller": self.caller, "request": request}
        names: dict[str, Any] = {**told, "steps": steps, "execution": execution}
        if self.error is not None:
            names["error"] = self.error
        return {**names, "env": Variables(env, names)}


class DoneStep(Mapping[str, Any]):
    """The view that templates have of a step: its output only as a whole."""

    def __init__(self, name: str, state: Mapping[str, Any]) -> None:
        self._name = name
        self._is_cut = bool(state.get("truncated"))
        self._state = {key: state.get(key) for key in ("output", "status", "error")}

    def __getitem__(self, key: str) -> Any:
        if key == "output" and self._is_cut:
            raise ValueError(
                f"the output of step {self._name} was larger than 1 MiB, so only its beginning was kept: "
                "put large data in a file or elsewhere, and out its name"
            )
        return self._state[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


class Variables(Mapping[str, str]):
    """Declared variables; each is rendered when it is used, so that one that can't be hurts no step without it."""

    def __init__(self, declared: Mapping[str, str], context: Mapping[str, Any]) -> None:
        self._declared = declared
        self._context = context

    def __getitem__(self, name: str) -> str:
        return as_text(render(self._declared[name], self._context))

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)
