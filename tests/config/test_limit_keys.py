"""The keys that limit an API: what is right, and every mistake at its line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config.model import Concurrency, Debounce, Rate

from .editors import errors
from .writing import api, loaded, mistakes

KEY = "modules.shop.methods.order"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rate: 100/1m", Rate(100, 60, 100)),
        ("rate: 5/s", Rate(5, 1, 5)),
        ("rate: {limit: 10 / 2 h, burst: 3, per: address}", Rate(10, 7200, 3, "address")),
        ("concurrency: 2", Concurrency(2)),
        ("concurrency: {limit: 1, full: newest}", Concurrency(1, full="newest")),
        ("debounce: 5s", Debounce(5, 50)),
        ("debounce: {quiet: 5s, at_most: 6s, run: first, per: api}", Debounce(5, 6, "api", "first")),
    ],
)
def test_what_is_right_is_read(tmp_path: Path, text: str, value: object) -> None:
    written = api(text)
    assert errors(written) == []
    (order,) = loaded(tmp_path, written).apis.values()
    assert value in (order.rate, order.concurrency, order.debounce)
    assert order.is_limited


# What is wrong, its key below the API's, a piece of the message, and whether editors see it, too.
WRONG = [
    ("rate: 0/1m", "rate", "from 1 to", False),
    ("rate: 5", "rate", "such as 100/1m", True),
    ("rate: 5/fortnight", "rate", "such as 100/1m", True),
    ("rate: 5/2d", "rate", "from 1s to 1d", False),
    ("rate: [5/s]", "rate", "must be one value", True),
    ("rate: {burst: 5}", "rate.limit", "is missing", True),
    ("rate: {limit: 5/s, burst: 0}", "rate.burst", "from 1 to", True),
    ("rate: {limit: 5/s, per: host}", "rate.per", "must be api, caller, address, or", True),
    ("rate: {limit: 5/s, per: caller}", "rate.per", "asks nobody who calls", False),
    ("rate: {limit: 5/s, window: 1m}", "rate.window", "a part of the limit", True),
    ('rate: {limit: 5/s, per: "{{ input.hots }}"}', "rate.per", "did you mean 'host'?", False),
    ('rate: {limit: 5/s, per: "{{ input.pin }}"}', "rate.per", "secret field", False),
    ('rate: {limit: 5/s, per: "{{ input }}"}', "rate.per", "secret field", False),
    ('rate: {limit: 5/s, per: "{{ headers.event }}"}', "rate.per", "headers.event", False),
    ('rate: {limit: 5/s, per: "{{ steps.a.output }}"}', "rate.per", "`per` of an API can use", False),
    ("concurrency: 0", "concurrency", "from 1 to", True),
    ("concurrency: {limit: 1, full: wait}", "concurrency.full", "queue, reject or newest", True),
    ("concurrency: {limit: 1, full: reject, waiting: 3}", "concurrency.waiting", "has no effect", False),
    ("concurrency: {limit: 1, cancel_in_progress: true}", "concurrency.cancel_in_progress", "full: newest", True),
    ("debounce: {quiet: 5s, at_most: 5s}", "debounce.at_most", "longer than `quiet`", False),
    ("debounce: 500ms", "debounce", "duration", True),
    ("debounce: {quiet: 5s, run: both}", "debounce.run", "last or first", True),
    ("debounce: 5s\nfiles: {max: 1, size: 1 MiB}", "debounce", "can't be had with `files`", False),
    ("from: 192.0.2.1", "from", "must be a list", True),
    ("from: []", "from", "must be a list", True),
    ("from: [192.0.2.1/24]", "from.0", "bits beyond its prefix", False),
    ("from: [example.org]", "from.0", "must be an address or a network", False),
    ("throttle: 5/s", "throttle", "is called rate here", True),
    ("allow: [192.0.2.1]", "allow", "is called from here", True),
]


@pytest.mark.parametrize(("text", "key", "said", "by_editors"), WRONG, ids=[text for text, *_ in WRONG])
def test_each_mistake_is_told_at_its_key(tmp_path: Path, text: str, key: str, said: str, by_editors: bool) -> None:
    written = api(f"{text}\ninput: {{fields: {{host: {{type: string}}, pin: {{type: string, secret: true}}}}}}")
    (mistake,) = mistakes(tmp_path, written)
    assert mistake.key == f"{KEY}.{key}"
    assert said in mistake.message
    assert bool(errors(written)) is by_editors
