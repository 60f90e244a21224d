"""Our words for those of other tools: one table for each kind of mapping, read when a key is unknown.

Words are written as `word` gives them: working-directory and workingDirectory are working_directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Hints = Mapping[str, str]


def hint(key: str, hints: Hints) -> str | None:
    """Return the hint for an unknown key, if it is a word of another tool; the key itself stands before it."""
    return hints.get(word(key))


def word(key: str) -> str:
    """A key in lower case, its parts joined by "_"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower().replace("-", "_")


def _all(words: str, said: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), said)


def _called(names: Mapping[str, str]) -> dict[str, str]:
    return {other: f"is called {name} here" for name, words in names.items() for other in words.split()}


_NO_SCHEDULE = _all(
    "schedule schedules cron crontab schedule_interval",
    "has no counterpart: let cron or a systemd timer call the API",
)
_LISTENS = _all("host port bind listen address", "is set by TRIGGER_BIND in the environment, such as 127.0.0.1:8080")
_OF_WORKFLOW = "is the workflow's: write it under workflows"
_TIMEOUT = _all(
    "timeout_seconds timeout_minutes timeout_sec time_limit soft_time_limit execution_timeout max_time deadline",
    "is called timeout here, with its unit, such as 30s or 5m",
)
_ATTEMPTS = _all(
    "retries max_retries attempts max_attempts tries autoretry_for retry_policy retry_kwargs",
    "is written as retry: {attempts: 3}, the first attempt counted",
)
_PAUSES = _all(
    "retry_delay default_retry_delay retry_backoff backoff retry_interval",
    "is written as retry: {attempts: 3, backoff: [1s, 10s]}",
)
_ENV = _called({"env": "environment environ env_vars envs variables vars"})

PYTHON_WORDS = "function func callable python_callable handler task call"
RUN_WORDS = (
    "command cmd commands script scripts shell bash exec execute execute_command entrypoint program bash_command"
)
HTTP_WORDS = "url uri request"
MEANT = frozenset(f"{PYTHON_WORDS} {RUN_WORDS} {HTTP_WORDS} args uses".split())  # words that tell which kind is meant

_RUN = "is called run here, a list of a program and its arguments"

ROOT: Hints = {
    **_called(
        {
            "workflows": "jobs tasks dags flows pipelines",
            "operators": "admins admin users",
            "redis": "redis_url broker broker_url",
            "retention": "ttl result_ttl result_expires",
            "workers": "concurrency worker_concurrency processes",
            "callbacks": "notifications notify notifiers alerts",
        }
    ),
    **_all(
        "apis api hooks webhooks endpoints routes methods",
        "is written as modules: {MODULE: {methods: {METHOD: …}}} here",
    ),
    **_all("version name description", "is not needed here: take it away"),
    **_all("env environment variables timeout retry retries queue queues steps run", _OF_WORKFLOW),
    **_all("secrets secret", "is not needed here: write ${NAME} or ${file:PATH} where the secret is used"),
    **_all("prefix max_body proxies hosts backlog auth_failures", "stands under server"),
    **_all("on triggers", "has no counterpart: what starts a workflow is an API under modules"),
    **_all("log_level logging log", "is set by TRIGGER_LOG in the environment: text or json"),
    **_LISTENS,
    **_NO_SCHEDULE,
}
SERVER: Hints = {
    **_LISTENS,
    **_called(
        {
            "prefix": "path base_path url_prefix root_path",
            "max_body": "max_body_size body_limit",
            "hosts": "host_names allowed_hosts server_name",
        }
    ),
    **_all("workers processes", "is the whole file's: write workers at its top"),
    **_all("tls ssl cert certificate", "has no counterpart: nginx in front ends TLS"),
}
MODULE: Hints = {
    **_called({"methods": "apis api endpoints routes hooks webhooks"}),
    **_all("enabled verbs auth workflow input debug", "is the API's: write it under methods"),
}
API: Hints = {
    **_called(
        {
            "verbs": "method methods http_method http_methods verb",
            "auth": "authentication authorization security trigger_rule",
            "workflow": "job dag flow pipeline target",
            "debug": "example examples sample test_data",
            "callback": "callbacks notify notification on_failure_callback",
        }
    ),
    **_all(
        "token tokens users user password secret api_key", "stands under auth, such as auth: {mode: token, token: …}"
    ),
    **_called({"answer": "response respond reply", "sync": "wait synchronous response_mode wait_for_completion"}),
    **_called(
        {
            "rate": "rate_limit ratelimit throttle throttling",
            "concurrency": "max_concurrent max_concurrency max_active_runs max_active_executions parallelism",
            "debounce": "debouncing coalesce",
            "from": "allow allowed_ips ip_whitelist allow_from ip_allowlist whitelist allowlist",
        }
    ),
    **_all("fields parameters params inputs schema arguments", "is written as input: {fields: {…}} here"),
    **_all(
        f"{PYTHON_WORDS} {RUN_WORDS} python run steps http",
        "stands in a workflow, which the API names as its workflow",
    ),
    **_all("timeout retry retries max_retries queue env environment parallel on_failure", _OF_WORKFLOW),
    **_all("path route name id", "is not needed here: the path is made of module and method"),
    **_all("disabled active enable", "is written as enabled: true or enabled: false here"),
    **_NO_SCHEDULE,
}
WORKFLOW: Hints = {
    **_called(
        {
            "steps": "tasks jobs stages actions",
            "python": f"{PYTHON_WORDS} module",
            "on_failure": "on_error catch finally handler_on handlers failure on_failure_callback",
            "parallel": "concurrency max_parallel max_active_steps max_active_tasks",
        }
    ),
    **_ENV,
    **_TIMEOUT,
    **_ATTEMPTS,
    **_PAUSES,
    **_all(
        f"{RUN_WORDS} run http url args with cwd working_directory working_dir workdir when needs",
        'is a step\'s: write steps: [{name: tell, run: [echo, "hello"]}]',
    ),
    **_all("input inputs params parameters fields", "is the API's: write input: {fields: {…}} there"),
    **_all("name id", "is not needed here: the name is the key above"),
    **_NO_SCHEDULE,
}
STEP: Hints = {
    **_called(
        {
            "name": "id step title label task_id",
            "when": "if condition conditions precondition preconditions",
            "needs": "depends_on depends upstream after requires",
            "stdin": "standard_input std_in pipe",
            "cwd": "working_directory working_dir workdir work_dir dir directory chdir folder",
            "continue_on_error": "continue_on ignore_errors ignore_error ignore_failure allow_failure",
            "with": "kwargs op_kwargs arguments params parameters inputs input",
            "python": PYTHON_WORDS,
        }
    ),
    **_all(RUN_WORDS, _RUN),
    **_ENV,
    **_TIMEOUT,
    **_ATTEMPTS,
    **_PAUSES,
    "args": "stands in run, after the program; of a callable it is called with",
    **_all(f"{HTTP_WORDS} method headers body", "stands under http"),
    "uses": "has no counterpart: a step is a python callable, a program (run) or a request (http)",
    **_all("type kind executor operator", "is not needed here: python, run or http says it"),
    **_all("output outputs register", "is not needed here: other steps read it as {{ steps.NAME.output }}"),
    **_all("on_failure on_error", "is the workflow's: write it beside steps"),
    **_all("description comment", "has no counterpart: write a comment after #"),
    "parallel": "is the workflow's: steps run at once when they need none of one another",
    "queue": "is the workflow's: all its steps run on one",
}
LAST_STEP: Hints = {**STEP, "needs": "the steps of on_failure run in order: take needs away"}
HTTP: Hints = {
    **_all("timeout retry retries", "is the step's: write it beside http"),
    **_all("data payload content", "is called json, form or body here"),
    **_called(
        {
            "query": "params parameters query_params",
            "url": "uri endpoint",
            "method": "verb type",
            "headers": "header",
            "expect": "expected_status expect_status status status_code status_codes",
            "redirects": "follow_redirects allow_redirects max_redirects",
        }
    ),
    **_all("auth token bearer", 'is written as headers: {Authorization: "Bearer ${NAME}"} here'),
}
RETRY: Hints = {
    **_called(
        {
            "attempts": "max count limit retries max_attempts max_retries tries times",
            "backoff": "delay interval wait pause interval_sec retry_delay delays",
            "on": "exceptions codes exit_codes statuses when",
        }
    ),
}
WORKFLOW_RETRY: Hints = {**RETRY, **_all("on jitter", "is for the retry of a step")}
FIELD: Hints = {
    **_called(
        {
            "pattern": "regex regexp",
            "min": "minimum min_value gte ge",
            "max": "maximum max_value lte le",
            "of": "items item",
            "fields": "properties schema",
            "enum": "choices one_of values options allowed",
            "description": "title help label",
            "secret": "sensitive private write_only",
            "nullable": "null allow_none allow_null none",
            "unknown": "additional_properties",
        }
    ),
    "format": "is the type here: date, datetime, email, url or uuid",
    "optional": "is written as required: false here, which is the default",
    **_all("example examples", "is written once for the API, as debug"),
    "name": "is not needed here: the name is the key above",
}
CALLBACK: Hints = {
    **_called(
        {
            "url": "uri endpoint webhook webhook_url",
            "secrets": "secret signing_secret key",
            "on": "events event statuses status when",
            "include": "with fields data",
            "mail": "email e_mail smtp to",
            "format": "type kind",
        }
    ),
    **_all("retry retries timeout", "is the same for all callbacks: see docs/callbacks.md"),
    **_all("headers method verb token auth", "has no counterpart: a callback is a POST, signed with `secrets`"),
}
MAIL: Hints = {
    **_called({"from": "sender", "to": "recipients recipient cc bcc", "smtp": "server host url"}),
    **_all("user username password port", "is part of smtp: smtp://user:password@host:587"),
}
ANSWER: Hints = {
    **_called({"status": "code status_code", "body": "content response"}),
    **_all("challenge verification ping", "is written as handshake: slack, or another one's name, here"),
}
RATE: Hints = {
    **_called({"limit": "rate max count calls requests", "burst": "bucket capacity"}),
    **_called({"per": "by key partition key_func scope"}),
    **_all("period window interval seconds", "is a part of the limit, such as limit: 100/1m"),
}
CONCURRENCY: Hints = {
    **_called({"limit": "max slots max_concurrent concurrency", "per": "by key group partition concurrency_key"}),
    **_called({"full": "strategy policy limit_strategy on_conflict", "waiting": "queue max_queue backlog queue_size"}),
    **_all("cancel_in_progress", "is written as full: newest here, which cancels what waits, and nothing that runs"),
}
DEBOUNCE: Hints = {
    **_called({"quiet": "period delay wait seconds window", "at_most": "timeout max max_wait", "per": "by key"}),
    **_called({"run": "keep use input"}),
}
AUTH: Hints = {
    "type": "is called mode here: none, token, password or signature",
    **_all("bearer api_key key", "is written as {mode: token, token: …} here"),
    **_all("hmac signature secret", "is written as {mode: signature, scheme: github, secrets: {current: …}} here"),
    **_all("username password basic", "is written as {mode: password, users: {NAME: PASSWORD}} here"),
}
