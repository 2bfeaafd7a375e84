"""The command line: one function per command, thin over the library.

Results go to stdout (as JSON with `--json`, and then nothing else), everything else to stderr. Exit codes: 0 success,
1 a check or a budget failed, 2 bad usage or bad input, 130 interrupted.
"""

from kdpinn_edge.cli.application import app

__all__ = ["app"]
