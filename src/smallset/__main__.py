"""``python -m smallset``."""

from smallset.cli import main

main()
