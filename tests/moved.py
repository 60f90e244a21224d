"""The commands, with /etc/trigger and /var/lib/trigger somewhere else: `python -m tests.moved ETC LIB COMMAND …`."""

import os
import sys
from pathlib import Path

from trigger.cli import instance, main
from trigger.store import acts, queueing  # noqa: F401  nobody may not be allowed to read them

if __name__ == "__main__":
    instance.SYSTEM, instance.SYSTEM_DATA = map(Path, sys.argv[1:3])
    if "NOBODY" in os.environ:
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
    main(sys.argv[3:])
