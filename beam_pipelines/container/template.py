"""The entry point of a flex template: the command, with all options that the template's form does not list in one parameter."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from beam_pipelines.cli.explain import main

_OPTIONS = "--options="


def expand_options(argv: Sequence[str]) -> list[str]:
    """The command line, with `--options='--occlusion.step 4 --resume'` split into its words."""
    words = [word for item in argv if item.startswith(_OPTIONS) for word in shlex.split(item.removeprefix(_OPTIONS))]
    return [item for item in argv if not item.startswith(_OPTIONS)] + words


if __name__ == "__main__":
    sys.exit(main(expand_options(sys.argv[1:])))
