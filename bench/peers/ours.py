"""Puts jobs into our queue, the way the web processes do. What is measured is `python -m trigger web` and `worker`."""

import os
from pathlib import Path

import front

from trigger.config import load
from trigger.store.queueing import Call, Submitter, connect

config = load(Path(os.environ["TRIGGER_CONFIG"]), os.environ)
submitter = Submitter(connect(front.REDIS_URL))


def submit(job, value):
    return submitter.submit(Call(config.apis["bench", job], value, "token"), config).uid


if __name__ == "__main__":
    front.main(submit)
