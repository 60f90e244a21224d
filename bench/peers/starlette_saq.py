"""Starlette and saq, both asynchronous."""

import asyncio
import hmac

import front
import work
from saq.queue.redis import RedisQueue
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

queue = RedisQueue.from_url(front.REDIS_URL)


async def noop(context, *, value):
    return work.noop(value)


async def fibo(context, *, value):
    return work.fibo(value)


settings = {"queue": queue, "functions": [noop, fibo]}


async def trigger(request):
    if not hmac.compare_digest(request.headers.get("token", ""), front.TOKEN):
        return JSONResponse({"response": {"error": "Token is invalid"}}, 401)
    job = await queue.enqueue("noop", value=await request.json())
    return JSONResponse({"response": {"uid": job.id}}, 202)


app = Starlette(routes=[Route(front.PATH, trigger, methods=["POST"])])

if __name__ == "__main__":
    with asyncio.Runner() as runner:
        front.main(lambda job, value: runner.run(queue.enqueue(job, value=value)).id)
