"""What a worker tells its child: which run is to be cancelled."""

from __future__ import annotations

import mmap
import signal

# Says that there is an order. It may come at any moment, so the order itself names the run that it is for.
SIGNAL = signal.SIGUSR1

_SIZE = 64


class Orders:
    """Memory that worker and child share, made before the fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def cancel(self, execution: str) -> None:
        """Posts that the run with this id is to be cancelled."""
        self._memory[:] = execution.encode()[:_SIZE].ljust(_SIZE)

    def cancels(self, execution: str) -> bool:
        """Whether the run with this id is to be cancelled."""
        return self._memory[:] == execution.encode()[:_SIZE].ljust(_SIZE)

    def close(self) -> None:
        self._memory.close()
