"""The workflows in the order of their names, with the APIs that start each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trigger.config.model import Api, Config, Workflow
from trigger.console.lists import found


@dataclass(frozen=True, slots=True)
class WorkflowIndex:
    """The workflows of one version of the config, by name. `texts` are what is searched of each, `starters` the APIs
    that start each, by its name."""

    config: Config
    workflows: tuple[Workflow, ...]
    texts: tuple[str, ...]
    starters: Mapping[str, Sequence[Api]]

    def find(self, search: str) -> Sequence[Workflow]:
        """The workflows in which each word of `search` occurs, whatever its case: all of them for no word."""
        return found(self.workflows, self.texts, search)


def listed(config: Config) -> WorkflowIndex:
    """The workflows of a config, as a page lists them."""
    workflows = tuple(sorted(config.workflows.values(), key=lambda workflow: (workflow.name.casefold(), workflow.name)))
    starters: dict[str, list[Api]] = {workflow.name: [] for workflow in workflows}
    for api in sorted(config.apis.values(), key=lambda api: (api.module, api.method)):
        starters[api.workflow.name].append(api)
    return WorkflowIndex(config, workflows, tuple(map(_text, workflows)), starters)


def _text(workflow: Workflow) -> str:
    calls = (step.calls for step in (*workflow.steps, *workflow.on_failure))
    return "\n".join((workflow.name, workflow.about, workflow.queue, workflow.calls, *calls)).casefold()
