"""`python -m beam_pipelines.attribute ...`: `tb-deepexplain explain` under the name that a Beam pipeline usually has."""

from __future__ import annotations

import sys

from beam_pipelines.cli.arguments import check_or_exit
from beam_pipelines.engine.native_logs import silence_logs

if __name__ == "__main__":
    if "--debug" not in sys.argv:
        silence_logs()  # before Beam is imported: its import takes seconds and prints warnings
    check_or_exit(sys.argv[1:])
    from beam_pipelines.cli.explain import main

    sys.exit(main())
