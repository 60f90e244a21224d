"""Load by wrk (https://github.com/wg/wrk): how many calls a second are answered, and how soon."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.stage import BODY, headers
from bench.venvs import need_program

_SCRIPT = """
wrk.method = "POST"
wrk.body = %s
%s
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("figures %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: requests answered, those a second, refused or failed ones; times in milliseconds."""

    requests: int
    rps: float
    failed: int
    p50: float
    p99: float


def load(port: int, path: str, connections: int, seconds: float, folder: Path) -> Load:
    """Sends the benches' call over so many connections, each time as soon as the last one is answered.

    Raises MissingProgram without wrk.
    """
    script = folder / "call.lua"
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers().items())
    script.write_text(_SCRIPT % (_quoted(BODY.decode()), lines))
    command = [need_program("wrk"), "-t", "1", "-c", str(connections), "-d", f"{seconds:.0f}s", "-s", str(script)]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    line = next(line for line in said.splitlines() if line.startswith("figures "))
    requests, duration, failed, p50, p99 = map(int, line.split()[1:])
    return Load(requests, requests / (duration / 1e6), failed, p50 / 1000, p99 / 1000)


def _quoted(text: str) -> str:
    """A text as a Lua string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
