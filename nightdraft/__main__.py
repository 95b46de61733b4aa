"""`python -m nightdraft` is the command `nightdraft`."""

from nightdraft.cli import main

main()
