"""``python -m followspot`` is the command line."""

from followspot.cli.main import main

main()
