"""Flask and RQ as their documentation says. `python -m flask_rq worker [simple]` is RQ's worker, jobs imported once."""

import sys

import front
import work
from redis import Redis
from rq import Queue, SimpleWorker, Worker

redis = Redis.from_url(front.REDIS_URL)
queue = Queue(connection=redis)


def submit(job, value):
    return queue.enqueue(getattr(work, job), value).id


app = front.flask_app(submit)

if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker = SimpleWorker if sys.argv[2:] == ["simple"] else Worker
        worker([queue], connection=redis).work(logging_level="WARNING")
    else:
        front.main(submit)
