"""What the jobs of every stack do. Each writes 16 bytes to a file, which tell when it ran, whatever its queue says."""

import os
import struct
import time

_EFFECTS = os.open(os.environ["BENCH_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _note(value):
    os.write(_EFFECTS, struct.pack("<qq", value["n"], time.time_ns()))


def noop(value):
    _note(value)
    return value["n"]


def fibo(value):
    """Fibonacci's 10th number by naive recursion, the light task of Windmill's public benchmark."""
    result = _fibo(10)
    _note(value)
    return result


def _fibo(n):
    return n if n <= 1 else _fibo(n - 1) + _fibo(n - 2)
