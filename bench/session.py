"""What the benches have in common: their options, the rounds in which stacks take turns, and where figures end up."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from bench import venvs
from bench.figures import Figures, machine
from bench.stacks import BY_NAME, Stack
from bench.venvs import BENCH, MissingProgram
from trigger.redis_server import find_program

RESULTS = BENCH / "results"

T = TypeVar("T")


class Session:
    """One run of a bench, as its command line asks for it.

    Arguments: `benchmark`, its name; `about`, what it measures; `stacks`, the names of those it knows; `rounds` and
    `seconds` (of one measurement) when the command line says nothing; `program`, which the bench can't do without.
    """

    def __init__(
        self,
        benchmark: str,
        about: str,
        stacks: Sequence[str],
        *,
        rounds: int = 3,
        seconds: float = 3,
        program: str = "",
    ) -> None:
        parser = argparse.ArgumentParser(
            prog=f"python -m bench.{benchmark}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--stacks", default=",".join(stacks), help="which, separated by commas (%(default)s)")
        parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (%(default)s)")
        parser.add_argument("--seconds", type=float, default=seconds, help="of one measurement (%(default)s)")
        parser.add_argument(
            "--cases", default="", help="only cases that contain one of these words, separated by commas"
        )
        parser.add_argument("--save", action="store_true", help="keep the figures, and write docs/benchmarks.md anew")
        self._options = parser.parse_args()
        if self._options.save and (self._options.cases or self._options.stacks != ",".join(stacks)):
            parser.error("--save keeps the figures of all stacks and cases: leave --stacks and --cases out")
        unknown = set(self._options.stacks.split(",")) - set(stacks)
        if unknown:
            parser.error(f"there is no stack {', '.join(sorted(unknown))}; this bench knows {', '.join(stacks)}")
        if program:
            venvs.need_program(program)
        self.rounds: int = self._options.rounds
        self.seconds: float = self._options.seconds
        self.stacks = [BY_NAME[name] for name in self._options.stacks.split(",") if _is_there(BY_NAME[name])]
        self.figures = Figures(benchmark, {"rounds": self.rounds, "seconds": self.seconds}, machine(redis=_redis()))
        venvs.make(self.stacks)

    def wants(self, case: str) -> bool:
        """Whether the command line asks for a case."""
        words = self._options.cases.split(",")
        return any(word in case for word in words)

    def turns(self, cases: Iterable[T], *, at_most: int | None = None) -> Iterator[T]:
        """Each case once in each round; every other round backwards, so that a drift of the machine evens out.

        `at_most` is the greatest number of rounds.
        """
        ordered = list(cases)
        rounds = self.rounds if at_most is None else min(self.rounds, at_most)
        for number in range(rounds if ordered else 0):
            sys.stdout.write(f"round {number + 1} of {rounds}\n")
            yield from reversed(ordered) if number % 2 else ordered

    def add(self, stack: Stack | str, case: str, **metrics: float) -> None:
        """Takes down and prints a round's values."""
        name = stack if isinstance(stack, str) else stack.name
        self.figures.add(name, case, **metrics)
        shown = "  ".join(f"{metric} {value:,.4g}" for metric, value in metrics.items())
        sys.stdout.write(f"  {name:<12} {case:<22} {shown}\n")
        sys.stdout.flush()

    def finish(self, tables: Callable[[Figures], str]) -> None:
        """Prints the tables, and keeps the figures if that was asked for."""
        sys.stdout.write(f"\n{tables(self.figures)}\n")
        if self._options.save:
            from bench import report

            self.figures.save(RESULTS / f"{self.figures.benchmark}.json")
            report.write()


def run(main: Callable[[], None]) -> None:
    """Runs a bench; a missing program is one clear line."""
    try:
        main()
    except MissingProgram as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _is_there(stack: Stack) -> bool:
    if stack.is_before:
        return "BENCH_BEFORE" in os.environ
    try:
        if stack.program:
            venvs.need_program(stack.program)
    except MissingProgram as error:
        sys.stderr.write(f"{stack.title} is left out: {error}\n")
        return False
    return True


def _redis() -> str:
    return ".".join(map(str, find_program().version))


def version(*command: str) -> str:
    """The first line that a program says about its version."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).partition("\n")[0]
