"""A service whose config, callers and workflows are full of secrets, and what they do with it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from tests import forks
from tests.leaks.canaries import ODD, Canaries
from tests.programs import free_port
from tests.running import Running
from tests.support import environment, eventually

# Steps of `run` that are given secrets as arguments have this as their name.
PROGRAM = "a-step-that-is-given-secrets"


def _config(secrets: Canaries, peer: str, operators: dict[str, str]) -> dict[str, Any]:
    """The config; what it calls `${IN_…}` comes from the environment."""
    text = {"type": "string", "secret": True}
    fields = {
        "card": {**text, "max_length": 60},
        "cards": {"type": "list", "of": text},
        "box": {
            "type": "object",
            "fields": {"inner": text, "rows": {"type": "list", "of": {"type": "object", "fields": {"pin": text}}}},
        },
        "whole": {"type": "object", "secret": True},
        "shown": text,
        "choice": {**text, "enum": [secrets["choice"], "none"]},
        "preset": {**text, "default": secrets["preset"]},
        "outside": {"type": "string", "default": "${IN_DEFAULT}"},
        "region": {"type": "string", "default": "eu"},
        "note": {"type": "string"},
    }
    debug = {"card": secrets["debug"], "box": {"inner": secrets["debug inner"]}, "note": "${IN_DEBUG}"}
    shared = {"enabled": True, "input": {"fields": fields}, "debug": debug}
    token = {"mode": "token", "token": secrets["token"]}
    query = "?key=${IN_QUERY}"
    headers = {"X-Key": "${IN_HEADER}"}
    url = f"http://ada:${{IN_USERINFO}}@{peer}"
    steps: list[dict[str, Any]] = [
        {
            "name": "told",
            "python": "work:tells_parts",
            "with": {"key": "${IN_WITH}", "file": "{{ env.FROM_FILE }}", "input": "{{ input }}"},
        },
        {
            "name": "program",
            "run": [
                "sh",
                "-c",
                'printf "%s\\n" "$FROM_ENV $1"; printf "%s\\n" "$FROM_FILE$2" >&2',
                PROGRAM,
                "${IN_ARGV}",
                "{{ input.shown }}",
            ],
        },
        {
            "name": "asked",
            "http": {
                "method": "POST",
                "url": f"{url}/hooks/${{IN_PATH}}{query}",
                "headers": headers,
                "json": {"key": "${IN_BODY}", "card": "{{ input.card }}"},
            },
        },
        {"name": "refused", "http": {"url": f"{url}/no/${{IN_PATH}}{query}", "headers": headers}},
        {"name": "away", "http": {"url": f"http://ada:${{IN_USERINFO}}@127.0.0.1:1/${{IN_PATH}}{query}"}},
        {"name": "gone", "python": "work:tells_parts", "with": {"key": "{{ input[input.card] }}"}},
        {"name": "gone_too", "python": "work:tells_parts", "with": {"key": "{{ input[env.FROM_ENV] }}"}},
        {"name": "shouts", "run": ["sh", "-c", 'printf "%s\\n" "$FROM_ENV $FROM_FILE" >&2; exit 3']},
        {
            "name": "ends",
            "python": "work:fails_parts",
            "with": {"key": "${IN_WITH}", "before": "{{ steps.asked.output }}", "input": "{{ input }}"},
        },
    ]
    for step in steps[3:-1]:
        step["continue_on_error"] = True
    return {
        "operators": operators,
        "server": {"callback": "ops"},
        "callbacks": {
            "ops": {
                "url": f"http://ada:${{IN_CALLBACK_USERINFO}}@{peer}/no/${{IN_CALLBACK_PATH}}?key=${{IN_CALLBACK_QUERY}}",
                "secrets": ["whsec_${IN_CALLBACK_KEY}"],
                "include": ["input", "output", "steps", "logs"],
                "addresses": "any",
            }
        },
        "workflows": {
            "tells": "work:tells",
            "fails": {"python": "work:fails", "retry": {"attempts": 2}, "description": "with ${IN_ABOUT}"},
            "not-json": "work:not_json",
            "steps": {
                "env": {"FROM_ENV": "${IN_ENV}", "FROM_FILE": "${file:secret.txt}"},
                "steps": steps,
                "on_failure": [
                    {"name": "complains", "run": ["sh", "-c", 'printf "%s\\n" "$1"', PROGRAM, "{{ error.message }}"]}
                ],
            },
            "at-once": {"steps": [{"name": "at", "python": "work:fails_at_once", "with": {"k": "${IN_WITH}"}}]},
        },
        "modules": {
            "shop": {
                "methods": {
                    "tells": {**shared, "auth": token, "workflow": "tells"},
                    "fails": {
                        **shared,
                        "auth": {"mode": "token", "tokens": {"ci": "${IN_TOKEN}", "old": secrets["old token"]}},
                        "workflow": "fails",
                    },
                    "json": {
                        **shared,
                        "auth": {"mode": "password", "users": {"ada": secrets["password"]}},
                        "workflow": "not-json",
                    },
                    "steps": {**shared, "auth": token, "workflow": "steps"},
                    "once": {"enabled": True, "auth": {"mode": "none"}, "workflow": "at-once"},
                }
            }
        },
    }


OUTSIDE = {
    "IN_WITH": ODD,
    "IN_ENV": ODD,
    "IN_ARGV": ODD,
    "IN_BODY": ODD,
    "IN_ABOUT": ODD,
    "IN_DEFAULT": ODD,
    "IN_DEBUG": ODD,
    "IN_USERINFO": "",
    "IN_PATH": "",
    "IN_QUERY": "",
    "IN_HEADER": "",
    "IN_TOKEN": "",
    "IN_CALLBACK_USERINFO": "",
    "IN_CALLBACK_PATH": "",
    "IN_CALLBACK_QUERY": "",
    "IN_CALLBACK_KEY": "",
}


class _Echo(BaseHTTPRequestHandler):
    """The other side of http steps: it repeats what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = f"{self.path} {self.headers.get('X-Key')} {body.decode()}".encode()
        self.send_response(404 if self.path.startswith("/no/") else 200)
        self.send_header("Content-Length", str(len(said)))
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(said)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def _echo() -> Iterator[str]:
    """Where a peer listens, as host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class House:
    """The running service, its secrets, and all that it has answered or let be seen."""

    secrets: Canaries
    running: Running
    environ: dict[str, str]
    operator: str  # whose password the secret "operator" is
    browser: requests.Session = field(default_factory=requests.Session)
    uids: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, bytes]] = field(default_factory=list)  # where, and what was there
    commands: set[bytes] = field(default_factory=set)  # the command lines of all its processes

    @property
    def port(self) -> int:
        return int(self.running.address.rpartition(":")[2])

    @property
    def folder(self) -> Path:
        return self.running.folder

    def ask(self, method: str, path: str, *, by: Any = requests, **options: Any) -> requests.Response:
        """One request, whose answer is kept for being looked through."""
        url = self.running.address + path
        answer: requests.Response = by.request(method, url, timeout=30, allow_redirects=False, **options)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items() if name != "Set-Cookie")
        self.seen.append((f"{method} {path} {answer.status_code}", head.encode() + b"\n" + answer.content))
        return answer

    def call(self, name: str, api: str, value: Any, **options: Any) -> None:
        """A call that is accepted, whose uid is kept."""
        answer = self.ask("POST", f"/v1/api/shop/{api}/async", json=value, **options)
        assert answer.status_code == 202, answer.text
        self.uids[name] = answer.json()["response"]["uid"]

    def ended(self, name: str) -> str:
        """Waits for its end, and says what has become of it."""
        auth = (self.operator, self.secrets["operator"])

        def status() -> str:
            self.look()
            url = f"{self.running.address}/v1/executions/{self.uids[name]}"
            return str(requests.get(url, auth=auth, timeout=30).json()["response"]["status"])

        return eventually(
            lambda: found if (found := status()) in ("succeeded", "failed", "cancelled") else "", within=60
        )

    def look(self) -> None:
        """Notes the command lines of the service's processes as everybody on the machine can see them."""
        for pid in (self.running.process.pid, *self.running.processes()):
            try:
                self.commands.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                continue

    def command(self, *arguments: str) -> int:
        """A command of ours, whose output is kept for being looked through."""
        done = forks.run(arguments, self.environ, timeout=60)
        self.seen.append((f"trigger {' '.join(arguments)}", (done.stdout + done.stderr).encode()))
        return done.returncode

    def sign_in(self) -> None:
        """With the link that was printed where there is one, else with the password."""
        link = self.running.said.partition("/console/sign-in?key=")[2].split("\n")[0]
        if link:
            self.secrets.know("link", link)
            answer = self.ask("GET", f"/console/sign-in?key={link}", by=self.browser)
        else:
            form = {"user": self.operator, "password": self.secrets["operator"]}
            answer = self.ask("POST", "/console/sign-in", by=self.browser, data=form, headers=OURS)
        assert answer.status_code == 303
        self.secrets.know("session", str(self.browser.cookies["trigger_session"]))


# What a browser says about a form of a page of ours.
OURS = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def house(folder: Path, form: str) -> Iterator[House]:
    """The service with its log in that form. With "text" the operator's password is made up and a link is printed, with
    "json" it is given in the environment."""
    secrets = Canaries()
    for name in ("token", "old token", "password"):
        secrets.make(name)
    for name in ("debug", "debug inner", "preset", "choice"):
        secrets.make(name, ODD)
    outside = {name: secrets.make(name, odd) for name, odd in OUTSIDE.items()}
    (folder / "secret.txt").write_text(f"{secrets.make('file 1', ODD)}\n{secrets.make('file 2', ODD)}\n")
    shutil.copy(Path(__file__).with_name("work.py"), folder)
    environ = {"TRIGGER_LOG": form, **outside}
    operators = {"admin": "${TRIGGER_ADMIN_PASSWORD:-}"}
    if form == "json":
        environ["TRIGGER_ADMIN_PASSWORD"] = secrets.make("operator", "'\"<&\\/")
        operators["night"] = secrets.make("other operator")
    port = free_port()
    with _echo() as peer:
        config = folder / "config.yaml"
        config.write_text(json.dumps(_config(secrets, peer, operators), indent=1))
        config.chmod(0o600)
        running = Running(folder, port, **environ)
        try:
            if form == "text":
                secrets.know("operator", (folder / "data/admin.password").read_text().strip())
            ours = environment(folder, "", TRIGGER_BIND=f"127.0.0.1:{port}", **environ)
            yield House(secrets, running, ours, "admin")
        finally:
            if running.process.poll() is None:
                running.stop()
