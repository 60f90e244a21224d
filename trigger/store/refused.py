"""The last calls that were refused, for operators: who called what from where, and why it was not accepted.

No credential, no query, no header and nothing of a body is in them; all texts are cut.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import cast

from redis import Redis

from trigger.store.keys import REFUSED

KEPT = 1_000
LIFE = 30 * 86_400  # seconds after which they go, when no other is refused
# Characters that are kept of each text; all others are shorter.
MAX_MESSAGE, MAX_PATH, MAX_CLIENT, MAX_METHOD = 300, 200, 64, 16


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was refused."""

    time: str  # RFC 3339 in UTC
    api: str  # "module/method"; empty where it was for no API
    reason: str  # the error's code
    message: str
    client: str  # the caller's address
    status: int
    method: str
    path: str  # percent-encoded

    def packed(self) -> str:
        """As it is kept, its texts cut."""
        fields = asdict(self)
        limits = {"message": MAX_MESSAGE, "path": MAX_PATH, "client": MAX_CLIENT, "method": MAX_METHOD}
        return json.dumps(fields | {name: fields[name][:limit] for name, limit in limits.items()})


def recent_refusals(redis: Redis, limit: int) -> list[Refused]:
    """The last `limit` refused calls, the newest first; KEPT of them are there at most."""
    packed = cast(list[bytes], redis.lrange(REFUSED, 0, min(limit, KEPT) - 1)) if limit > 0 else []
    found = [refused for text in packed if (refused := _unpacked(text))]
    return sorted(found, key=lambda refused: refused.time, reverse=True)  # each process writes its own by and by


def _unpacked(text: bytes) -> Refused | None:
    """Return a refused call, None for one that another version has packed."""
    try:
        fields = json.loads(text)
        refused = Refused(**fields)
    except (ValueError, TypeError):
        return None
    texts = (value for name, value in fields.items() if name != "status")
    return refused if isinstance(refused.status, int) and all(isinstance(value, str) for value in texts) else None
