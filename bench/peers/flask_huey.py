"""Flask and huey."""

import front
import work
from huey import RedisHuey

huey = RedisHuey(url=front.REDIS_URL)
jobs = {name: huey.task()(getattr(work, name)) for name in ("noop", "fibo")}


def submit(job, value):
    return jobs[job](value).id


app = front.flask_app(submit)

if __name__ == "__main__":
    front.main(submit)
