"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class StratascopeError(Exception):
    """A mistake or a limit that the user can act on.

    The message is one line: what was wrong, where (file, key, layer), and what would be right.
    The command line prints it as ``error: <message>`` and exits with 1, without a traceback.
    """
