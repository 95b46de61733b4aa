"""`python -m nightdraft` is the command `nightdraft`."""

from nightdraft.cli.main import main

main()
