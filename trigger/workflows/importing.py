"""Finding a workflow's callable, and trying in a process of its own whether the config's can be imported.

The web process imports no workflow code, and a worker must not die of it: whoever checks a config starts a child that
imports each workflow and says what went wrong.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trigger.errors import WorkflowError

# How long all imports of a config may take together, in seconds.
IMPORT_TIMEOUT = 30.0


def find(reference: str) -> Callable[..., Any]:
    """The callable that "package.module:callable" names, imported.

    Raises WorkflowError saying which part can't be found, or what the import raised.
    """
    module = reference.partition(":")[0]
    try:
        found = pkgutil.resolve_name(reference)
    except ModuleNotFoundError as error:
        raise WorkflowError(f"there is no module {error.name!r} (looked for {module!r})") from error
    except AttributeError as error:
        raise WorkflowError(f"{module!r} has no such callable: {error}") from error
    except Exception as error:  # importing runs the operator's code, which may raise anything
        raise WorkflowError(f"importing {module!r} raised {type(error).__name__}: {error}") from error
    if not callable(found):
        raise WorkflowError(f"{reference!r} is a {type(found).__name__}, not a callable")
    return found  # type: ignore[no-any-return]


class ImportCheck:
    """Tries workflows' imports in a child process whose path begins with `folder`; what worked is not tried again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good: set[str] = set()

    def __call__(self, references: Sequence[str]) -> Mapping[str, str]:
        """Maps each reference that can't be used to the reason, in words that end a sentence."""
        new = [reference for reference in references if reference not in self._good]
        if not new:
            return {}
        bad = self._try(new)
        self._good.update(reference for reference in new if reference not in bad)
        return bad

    def trust(self, references: Iterable[str]) -> None:
        """Takes these as tried and good."""
        self._good.update(references)

    def _try(self, references: Sequence[str]) -> Mapping[str, str]:
        command = [sys.executable, "-m", "trigger.workflows.importing", str(self._folder)]
        root = Path(__file__).resolve().parents[2]  # where `-m trigger…` is found, whatever the current folder is
        try:
            child = subprocess.run(
                command,
                input=json.dumps(list(references)),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=IMPORT_TIMEOUT,
                cwd=root,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return dict.fromkeys(references, f"importing took longer than {IMPORT_TIMEOUT:.0f} s")
        line = child.stdout.rpartition("\x00")[2]
        if child.returncode or not line:
            return dict.fromkeys(references, f"importing ended the process (exit status {child.returncode})")
        bad: dict[str, str] = json.loads(line)
        return bad


def main() -> None:
    """The child: reads references as a JSON list, answers {reference: reason} after a NUL on stdout."""
    sys.path.insert(0, sys.argv[1])
    bad: dict[str, str] = {}
    for reference in json.load(sys.stdin):
        try:
            find(reference)
        except WorkflowError as error:
            bad[reference] = str(error)
        except SystemExit as error:
            bad[reference] = f"importing it calls sys.exit({error.code!r})"
    # What the imported modules print comes first; the answer is what follows the last NUL.
    sys.stdout.write("\x00" + json.dumps(bad))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
