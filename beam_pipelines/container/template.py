"""What a flex template's launcher starts: the command, with options that its form does not name in one parameter."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from beam_pipelines.cli.explain import main

_REST = "--options="


def unfold(argv: Sequence[str]) -> list[str]:
    """The command line, with `--options='--occlusion.step 4 --resume'` taken apart."""
    rest = [word for item in argv if item.startswith(_REST) for word in shlex.split(item.removeprefix(_REST))]
    return [item for item in argv if not item.startswith(_REST)] + rest


if __name__ == "__main__":
    sys.exit(main(unfold(sys.argv[1:])))
