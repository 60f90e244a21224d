"""Flask and Celery: late acknowledgement, results kept (but not for calls over HTTP: that would slow them further)."""

import front
import work
from celery import Celery

url = f"redis+socket://{front.REDIS_SOCKET}"
celery = Celery("bench", broker=url, backend=url)
celery.conf.task_acks_late = True
jobs = {name: celery.task(getattr(work, name), name=name) for name in ("noop", "fibo")}


def submit(job, value):
    return jobs[job].delay(value).id


def submit_without_result(job, value):
    return jobs[job].apply_async((value,), ignore_result=True).id


app = front.flask_app(submit_without_result)

if __name__ == "__main__":
    front.main(submit)
