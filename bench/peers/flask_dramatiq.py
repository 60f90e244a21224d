"""Flask and dramatiq."""

import dramatiq
import front
import work
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=front.REDIS_URL)
dramatiq.set_broker(broker)
jobs = {name: dramatiq.actor(getattr(work, name)) for name in ("noop", "fibo")}


def submit(job, value):
    return jobs[job].send(value).message_id


app = front.flask_app(submit)

if __name__ == "__main__":
    front.main(submit)
