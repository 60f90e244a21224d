"""What the config's keys mean together: the rules that no single key can keep."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from trigger.config.document import Document
from trigger.config.model import Server
from trigger.config.parts import MAX_CANDIDATES, did_you_mean
from trigger.config.scalars import shown
from trigger.config.schemas import REFERENCE_FORM, reference

# The paths that the service answers itself, with all below them.
RESERVED = ("/v1/executions", "/healthz", "/readyz", "/console", "/docs", "/openapi.json", "/metrics")
MAX_SUGGESTIONS = 50  # each looks through all the workflows' names

Path = tuple[Hashable, ...]


def apis_of(data: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Module, method and declaration of each API in the loaded data."""
    return [
        (module, method, api)
        for module, declared in (data.get("modules") or {}).items()
        for method, api in (declared.get("methods") or {}).items()
    ]


def check_together(document: Document, data: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Report what is wrong between keys; `data` is what the schemas let through, `raw` what the document holds.

    Returns each "package.module:callable" that the config names, with all the places that name it.
    """
    prefix = (data.get("server") or {}).get("prefix", Server().prefix)
    for path in RESERVED:
        if f"{path}/".startswith(f"{prefix}/") or prefix.startswith(f"{path}/"):
            document.report(("server", "prefix"), f"clashes with {path}, which the service answers itself")

    places: dict[str, list[Path]] = {}
    for name, workflow in (data.get("workflows") or {}).items():
        if "python" in workflow:
            where: Path = ("workflows", name)
            python_key = (*where, "python") if isinstance(raw["workflows"][name], dict) else where
            places.setdefault(workflow["python"], []).append(python_key)

    # Also workflows with mistakes of their own are there: what uses them is not wrong too.
    declared = raw.get("workflows")
    names = declared if isinstance(declared, dict) else {}
    candidates = sorted(names)[:MAX_CANDIDATES]
    suggestions = 0
    for module, method, api in apis_of(data):
        target = api.get("workflow")
        if target is None or target in names:
            continue
        where = ("modules", module, "methods", method, "workflow")
        if ":" in target:
            try:
                places.setdefault(reference(target), []).append(where)
            except ValueError as error:
                document.report(where, str(error))
        else:
            suggestions += 1
            known = shown(target) != "this" and suggestions <= MAX_SUGGESTIONS
            hint = (did_you_mean(target, candidates) if known else "") or f"; name one of them, or {REFERENCE_FORM}"
            document.report(where, f"{shown(target)} is not one of `workflows`{hint}")
    return places
