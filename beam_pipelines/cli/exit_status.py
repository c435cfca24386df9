"""Exit statuses of the command: errors become one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tb_deepexplain.errors import DeepExplainError

OK = 0
SOME_FAILED = 1  # some examples could not be explained
ERROR = 2
INTERRUPTED = 130  # Ctrl-C


def run_guarded(argv: Sequence[str], command: Callable[[], int], interrupted: str) -> int:
    """The exit status of `command()`.

    An error becomes one line and status 2, unless --debug is in `argv`: then it is raised. `interrupted` is printed
    after Ctrl-C.
    """
    debug = "--debug" in argv
    try:
        return command()
    except SystemExit as exit_:  # --help
        return int(exit_.code or OK)
    except DeepExplainError as error:
        if debug:
            raise
        return fail(str(error))
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return fail(f"{type(error).__name__}: {error}".splitlines()[0] + " (--debug shows the traceback)")


def fail(reason: str) -> int:
    """Print the reason of an error; status 2."""
    print(f"tb-deepexplain: {reason}", file=sys.stderr)
    return ERROR
