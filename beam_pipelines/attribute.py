"""`python -m beam_pipelines.attribute ...`: the pipeline of `tb-deepexplain explain`, started as Beam users start one."""

from __future__ import annotations

import sys

from beam_pipelines.cli import options
from beam_pipelines.engine.native_logs import silence

if __name__ == "__main__":
    if "--debug" not in sys.argv:
        silence()  # before Beam is imported, which takes seconds and writes to the terminal
    options.check(sys.argv[1:])
    from beam_pipelines.cli.explain import main

    sys.exit(main())
