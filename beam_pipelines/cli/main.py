"""The command `tb-deepexplain`: its sub-commands. Heavy imports wait until a sub-command needs them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from beam_pipelines.cli.exit_status import ERROR, INTERRUPTED, OK, fail
from tb_deepexplain._version import __version__
from tb_deepexplain.errors import DeepExplainError

_COMMANDS = {
    "demo": "Explain four real models and open TensorBoard.",
    "explain": "Explain a model's predictions for the examples in your files.",
    "evaluate": "Rank the attribution methods on your model by faithfulness.",
    "methods": "List the attribution methods, or describe one.",
    "measures": "List the measures of a map's quality, or describe one.",
}
_PROG = "tb-deepexplain"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; its exit status."""
    status = _run(sys.argv[1:] if argv is None else list(argv))
    if argv is None and status > 1:
        # After a second Ctrl-C or the death of a worker, an orderly exit could wait forever for Beam's threads.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return OK if argv else ERROR
    if argv[0] == "--version":
        print(f"{_PROG} {__version__}")
        return OK
    command, rest = argv[0], argv[1:]
    if command not in _COMMANDS:
        return fail(f"unknown command {command!r}; expected {', '.join(_COMMANDS)}")
    if "--debug" not in rest:
        from beam_pipelines.engine.native_logs import silence_logs

        silence_logs()
    functions = {"demo": _demo, "explain": _explain, "evaluate": _evaluate, "methods": _methods, "measures": _measures}
    try:
        return functions[command](rest)
    except DeepExplainError as error:
        if "--debug" in rest:
            raise
        return fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def _explain(argv: Sequence[str]) -> int:
    from beam_pipelines.cli.arguments import parse_explain
    from beam_pipelines.cli.options import explain_parser
    from beam_pipelines.engine.native_logs import filter_native_stderr

    prog = f"{_PROG} explain"
    if "-h" in argv or "--help" in argv:
        explain_parser(prog).print_help()
        return OK
    parse_explain(argv, prog)  # reports mistakes before Beam is imported
    with filter_native_stderr():
        from beam_pipelines.cli.explain import main as explain
    return explain(argv, prog)


def _evaluate(argv: Sequence[str]) -> int:
    from beam_pipelines.cli.arguments import parse_evaluate
    from beam_pipelines.cli.options import evaluate_parser
    from beam_pipelines.engine.native_logs import filter_native_stderr

    prog = f"{_PROG} evaluate"
    if "-h" in argv or "--help" in argv:
        evaluate_parser(prog).print_help()
        return OK
    parse_evaluate(argv, prog)  # reports mistakes before Beam is imported
    with filter_native_stderr():
        from beam_pipelines.cli.evaluate import main as evaluate
    return evaluate(argv, prog)


def _demo(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"{_PROG} demo", description=_COMMANDS["demo"])
    parser.add_argument(
        "--logdir",
        metavar="DIR",
        help="log directory; the models are written to DIR_models (default: demo_logdir)",
    )
    parser.add_argument("--port", type=int, default=6006, metavar="N", help="port of TensorBoard (default: 6006)")
    parser.add_argument(
        "--no-serve", dest="serve", action="store_false", help="write the stores, but do not open TensorBoard"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the logs of TensorFlow and Beam")
    try:
        options = parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or OK)
    from beam_pipelines.cli.demo import main as demo

    status: int = demo(logdir=options.logdir, serve=options.serve, port=options.port)
    return status


def _methods(argv: Sequence[str]) -> int:
    return _show_table(argv, "methods")


def _measures(argv: Sequence[str]) -> int:
    return _show_table(argv, "measures")


def _show_table(argv: Sequence[str], table: str) -> int:
    if any(item.startswith("-") for item in argv) or len(argv) > 1:
        is_help = "-h" in argv or "--help" in argv
        print(f"usage: {_PROG} {table} [NAME]", file=sys.stdout if is_help else sys.stderr)
        return OK if is_help else ERROR
    from beam_pipelines.cli import tables

    show = tables.show_methods if table == "methods" else tables.show_measures
    show(argv[0] if argv else None)
    return OK


def _usage() -> str:
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in _COMMANDS.items())
    hint = f"Run '{_PROG} COMMAND --help' for a command's options, or '{_PROG} --version'."
    return f"usage: {_PROG} COMMAND [options]\n\n{commands}\n\n{hint}"


if __name__ == "__main__":
    sys.exit(main())
