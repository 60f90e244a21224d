"""Finding a workflow's callable, and trying in a process of its own whether the config's can be imported.

The web process imports no workflow code, and a worker must not die of it: whoever checks a config starts a child that
imports each workflow and says what went wrong.
"""

from __future__ import annotations

import json
import linecache
import os
import pkgutil
import posix
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from trigger.errors import WorkflowError

if TYPE_CHECKING:  # the child starts sooner without it
    from trigger.config.code import Code

# The project's modules by name: the file, whether it is a package, and its text.
Modules = Mapping[str, tuple[str, bool, bytes]]

# How long all imports of a config may take together, in seconds.
IMPORT_TIMEOUT = 30.0
# How often the one who waits for that does something else, in seconds.
_TURN = 0.25


class KeptCode(MetaPathFinder):
    """Imports the project's modules as they were read when the version in force was taken up, whatever their files say
    by now: all processes run the same code, also while a file is being edited or is broken."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname not in self._modules:
            return None
        file, is_package, text = self._modules[fullname]
        inside = [str(Path(file).parent)] if is_package else None
        loader = _KeptLoader(fullname, file, text)
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=inside)


class _KeptLoader(SourceFileLoader):
    def __init__(self, fullname: str, file: str, text: bytes) -> None:
        super().__init__(fullname, file)
        self._text = text

    def get_data(self, path: str) -> bytes:
        return self._text if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew: what Python keeps beside a file is of the file as it is now, to the second."""
        compiled: CodeType = self.source_to_code(self._text, self.path)
        # Without a time it is not compared with the file: a traceback shows the lines that have run.
        lines = (self.get_source(fullname) or "").splitlines(keepends=True)
        linecache.cache[self.path] = (len(self._text), None, lines, self.path)
        return compiled


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
    """Tries workflows' imports in a child process whose path begins with `folder`; what worked is not tried again as
    long as the project's code is the same. `meanwhile` is called now and then while the child is waited for; if it
    raises, the child is killed."""

    def __init__(self, folder: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._meanwhile = meanwhile
        self._good: set[str] = set()
        self._code: Code | None = None

    def __call__(self, references: Sequence[str], code: Code) -> Mapping[str, str]:
        """Maps each reference that can't be used to the reason, in words that end a sentence."""
        known = self._good if code == self._code else set()
        new = [reference for reference in references if reference not in known]
        if not new:
            return {}
        bad = self._try(new, code)
        if not bad:
            self.trust({*known, *new}, code)
        return bad

    def trust(self, references: Iterable[str], code: Code) -> None:
        """Takes these as tried and good."""
        self._good, self._code = set(references), code

    def _try(self, references: Sequence[str], code: Code) -> Mapping[str, str]:
        question = json.dumps({"references": list(references), "code": packed(modules_of(code))})
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(question.encode())
            given.seek(0)
            status = self._await(_spawn(self._folder, given.fileno(), said.fileno()))
            said.seek(0)
            answer = said.read()
        if status is None:
            return dict.fromkeys(references, f"importing took longer than {IMPORT_TIMEOUT:.0f} s")
        line = answer.decode("utf-8", "replace").rpartition("\x00")[2]
        if status or not line:
            return dict.fromkeys(references, f"importing ended the process (exit status {status})")
        try:
            bad: dict[str, str] = json.loads(line)
        except ValueError:  # something of theirs has written after the answer
            return dict.fromkeys(references, "importing wrote into what is not its own")
        return bad

    def _await(self, child: int) -> int | None:
        """The child's exit status; None when it took too long, and was killed."""
        try:
            return self._ended(child)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            posix.waitpid(child, 0)
            raise

    def _ended(self, child: int) -> int | None:
        deadline = time.monotonic() + IMPORT_TIMEOUT
        pause, turn = 0.005, time.monotonic() + _TURN
        while True:
            try:
                ended, status = posix.waitpid(child, posix.WNOHANG)
            except ChildProcessError:  # somebody else in this process has waited for it: its answer tells enough
                return 0
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                posix.waitpid(child, 0)
                return None
            if time.monotonic() > turn:
                turn = time.monotonic() + _TURN
                self._meanwhile()
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def _spawn(folder: Path, given: int, said: int) -> int:
    """Starts the child with these descriptors as its stdin and stdout, and returns its process id.

    In a thread of a web process neither `subprocess` nor `os` can do it: gevent puts off `os.close`, on which the first
    waits, and has its own loop wait for children of the second.
    """
    root = Path(__file__).resolve().parents[2]  # where our own package is found, whatever the current folder is
    script = f"import sys; sys.path.insert(0, {str(root)!r}); from {__name__} import main; main()"
    return posix.posix_spawn(
        sys.executable,
        [sys.executable, "-c", script, str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, given, 0),
            (os.POSIX_SPAWN_DUP2, said, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        setsigmask=(),
    )


def modules_of(code: Code) -> Modules:
    """The code's modules as KeptCode takes them."""
    return {name: (str(source.path), source.is_package, source.text) for name, source in code.modules.items()}


def packed(modules: Modules) -> dict[str, Any]:
    """Modules as JSON."""
    return {name: (file, is_package, text.decode("latin-1")) for name, (file, is_package, text) in modules.items()}


def unpacked(modules: Mapping[str, Any]) -> Modules:
    """Modules that were packed so. Raises ValueError, TypeError or AttributeError when they were not."""
    return {
        name: (str(file), bool(is_package), text.encode("latin-1"))
        for name, (file, is_package, text) in modules.items()
    }


def main() -> None:
    """The child: reads references and code as JSON, answers {reference: reason} after a NUL on stdout."""
    signal.alarm(int(IMPORT_TIMEOUT) + 5)  # when whoever waits for the answer is gone
    question = json.load(sys.stdin)
    sys.path.insert(0, sys.argv[1])
    sys.meta_path.insert(0, KeptCode(unpacked(question["code"])))
    bad: dict[str, str] = {}
    for reference in question["references"]:
        try:
            find(reference)
        except WorkflowError as error:
            bad[reference] = str(error)
        except SystemExit as error:
            bad[reference] = f"importing it calls sys.exit({error.code!r})"
    # What the imported modules print comes first; the answer is what follows the last NUL.
    sys.stdout.write("\x00" + json.dumps(bad))
    sys.stdout.flush()
    os._exit(0)  # without what the modules want to do at the end, and without waiting for their threads
