"""The least that a queue needs: a record and a queue entry, by one MULTI in one round trip. Nothing takes them out."""

import json
import uuid

import front
from redis import Redis

redis = Redis.from_url(front.REDIS_URL)


def submit(job, value):
    uid = uuid.uuid4().hex
    pipeline = redis.pipeline(transaction=True)
    pipeline.hset(f"job:{uid}", mapping={"job": job, "input": json.dumps(value)})
    pipeline.rpush("queue", uid)
    pipeline.execute()
    return uid


app = front.flask_app(submit)
