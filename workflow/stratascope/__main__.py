"""``python -m stratascope`` is ``stratascope``."""

from stratascope.cli import main

main()
