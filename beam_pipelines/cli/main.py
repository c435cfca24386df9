"""The command `tb-deepexplain`: demo, explain, methods. Nothing heavy is imported before it is known to be needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tb_deepexplain._version import __version__
from tb_deepexplain.errors import DeepExplainError

_COMMANDS = {
    "demo": "explain three real models, two of them trained here, and open TensorBoard",
    "explain": "explain the examples in files of many formats with a model of yours",
    "evaluate": "rank the methods on a model of yours by how faithful their maps are",
    "methods": "list the attribution methods, or one method's parameters",
    "measures": "list the measures of how far a map can be believed, or one measure's parameters",
}
_PROG = "tb-deepexplain"
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    status = _run(sys.argv[1:] if argv is None else list(argv))
    if argv is None and status > 1:
        # A second Ctrl-C, or a worker that died, leaves threads for which an orderly exit would wait, or trip over.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"{_PROG} {__version__}")
        return 0
    command, rest = argv[0], argv[1:]
    if command not in _COMMANDS:
        return _fail(f"unknown command {command!r}; expected {', '.join(_COMMANDS)}")
    if "--debug" not in rest:
        from beam_pipelines.engine.native_logs import silence

        silence()
    try:
        return {"demo": _demo, "explain": _explain, "evaluate": _evaluate, "methods": _list, "measures": _list}[
            command
        ](rest, command)
    except DeepExplainError as error:
        if "--debug" in rest:
            raise
        return _fail(str(error))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _explain(argv: Sequence[str], _: str) -> int:
    from beam_pipelines.cli.options import parse, parser
    from beam_pipelines.engine.native_logs import chatter_filtered

    prog = f"{_PROG} explain"
    if "-h" in argv or "--help" in argv:
        parser(prog).print_help()
        return 0
    parse(argv, prog)  # a mistake is told before Beam is imported
    with chatter_filtered():
        from beam_pipelines.cli.explain import main as explain
    return explain(argv, prog)


def _evaluate(argv: Sequence[str], _: str) -> int:
    from beam_pipelines.cli.options import parse, parser
    from beam_pipelines.engine.native_logs import chatter_filtered

    prog = f"{_PROG} evaluate"
    if "-h" in argv or "--help" in argv:
        parser(prog, evaluating=True).print_help()
        return 0
    parse(argv, prog, evaluating=True)  # a mistake is told before Beam is imported
    with chatter_filtered():
        from beam_pipelines.cli.evaluate import main as evaluate
    return evaluate(argv, prog)


def _demo(argv: Sequence[str], _: str) -> int:
    parser = argparse.ArgumentParser(prog=f"{_PROG} demo", description=_COMMANDS["demo"].capitalize() + ".")
    parser.add_argument(
        "--logdir", metavar="DIR", help="where to write; the models go to DIR_models (default: demo_logdir)"
    )
    parser.add_argument("--port", type=int, default=6006, help="port of TensorBoard (default: 6006)")
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="end when the data are written")
    parser.add_argument("--debug", action="store_true", help="show the logs of TensorFlow and Beam")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    from beam_pipelines.cli.demo import main as demo

    status: int = demo(logdir=options.logdir, serve=options.serve, port=options.port)
    return status


def _list(argv: Sequence[str], table: str) -> int:
    if any(item.startswith("-") for item in argv) or len(argv) > 1:
        wrong = not ("-h" in argv or "--help" in argv)
        print(f"usage: {_PROG} {table} [NAME]", file=sys.stderr if wrong else sys.stdout)
        return 2 if wrong else 0
    from beam_pipelines.engine.native_logs import chatter_filtered

    with chatter_filtered():
        from beam_pipelines.cli import tables
    show = tables.show if table == "methods" else tables.show_measures
    show(argv[0] if argv else None)
    return 0


def _usage() -> str:
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, what in _COMMANDS.items())
    return f"usage: {_PROG} COMMAND [options]\n\n{commands}\n\n{_PROG} COMMAND --help tells more."


def _fail(reason: str) -> int:
    print(f"{_PROG}: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
