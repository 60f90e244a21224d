"""What the peers have in common: the HTTP side, and a command that puts jobs into their queue.

Each peer hands in `submit(job, value)`, which queues one job and returns its id.
"""

import hmac
import json
import os
import sys
import time

PATH = "/v1/api/bench/noop/async"
TOKEN = os.environ["BENCH_TOKEN"]
REDIS_SOCKET = os.environ["BENCH_REDIS_SOCKET"]
REDIS_URL = f"unix://{REDIS_SOCKET}"


def flask_app(submit):
    """Checks the token, reads the JSON body, queues the job, answers with its id."""
    from flask import Flask, request

    app = Flask(__name__)

    @app.post(PATH)
    def trigger():
        if not hmac.compare_digest(request.headers.get("token", ""), TOKEN):
            return {"response": {"error": "Token is invalid"}}, 401
        return {"response": {"uid": submit("noop", request.get_json())}}, 202

    return app


def main(submit):
    """`python -m PEER JOB COUNT`: queues jobs with the bench's input, and prints when the first was begun, in ns.

    The input comes as JSON in BENCH_INPUT; `n` in it counts up.
    """
    job, count = sys.argv[1], int(sys.argv[2])
    value = json.loads(os.environ["BENCH_INPUT"])
    first = value["n"]
    if sys.argv[3:] == ["bursts"]:
        return bursts(submit, job, value, count)
    for n in range(first, first + count):
        submit(job, {**value, "n": n})
    return None


def bursts(submit, job, value, count):
    """For each line on stdin: queues `count` jobs at once, and prints when it began to, in ns since 1970."""
    for _ in sys.stdin:
        began = time.time_ns()
        for _ in range(count):
            submit(job, value)
        print(began, flush=True)
