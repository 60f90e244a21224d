"""`python -m trigger`."""

from trigger.cli import main

main()
