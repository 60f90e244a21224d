"""`python -m trigger`."""

import sys

if sys.argv[1:2] == ["web"]:  # gunicorn's master: what it imports from here on must be gevent's. See gunicorn.conf.py
    from gevent import monkey

    monkey.patch_all(subprocess=False)

from trigger.cli import main

main()
