"""`tb-deepexplain demo`: three real models, explained the way a model of one's own would be, in TensorBoard."""

from __future__ import annotations

import functools
import hashlib
import importlib
import shlex
import shutil
import time
from pathlib import Path
from types import ModuleType

from rich import get_console
from rich.console import Console

from beam_pipelines.cli.demo import packages, serving
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.layout import store_path

LOGDIR = "demo_logdir"
_PREPARED = "arguments.txt"  # written last: what is beside it is complete
_NAME = "default"  # of the stores


def main(logdir: str | None = None, serve: bool = True, port: int = 6006) -> int:
    """Run it; 0, or the exit status of a pipeline that failed. InputError where it cannot begin."""
    packages.check()
    logs = Path(logdir or LOGDIR).expanduser().absolute()
    work = logs.parent / f"{logs.name}_models"
    for folder in (logs, work):
        _check_writable(folder)
    if serve:
        serving.check_port(port)
    console, started = Console(highlight=False), time.monotonic()
    for name, what in {
        "photos": "photographs through EfficientNet-Lite0, trained on ImageNet",
        "digits": "handwritten digits through a small CNN",
        "reviews": "sentences of film reviews through a text CNN",
    }.items():
        console.print(f"\n[bold]{name}[/]: {what}")
        if status := _explain(name, work / name, logs):
            return status
    console.print(f"\nall done in {time.monotonic() - started:.0f} s")
    if not serve:
        console.print(f"now: tensorboard --logdir {shlex.quote(str(logs))}")
        return 0
    return serving.serve(logs, port, console)


def _explain(name: str, folder: Path, logs: Path) -> int:
    """Prepare model and data unless they stand, and run the pipeline on them."""
    from beam_pipelines.engine.native_logs import filter_native_stderr

    with get_console().status("loading TensorFlow"), filter_native_stderr():
        import tensorflow as tf

        from beam_pipelines.cli.explain import main as attribute
        from tb_deepexplain.store.configuration import clear

        example: ModuleType = importlib.import_module(f"beam_pipelines.cli.demo.{name}")
        tf.keras.utils.set_random_seed(0)  # and wake the devices, which have things to say
        tf.config.list_logical_devices()
    methods = [f"--methods={','.join(example.METHODS)}"]
    for method, parameters in example.METHODS.items():
        methods += [f"--{method}.{parameter}={value}" for parameter, value in parameters.items()]
    made_by, prepared = f"{_sources()} in {folder}", folder / _PREPARED
    known = prepared.read_text(encoding="utf-8").split("\n") if prepared.exists() else [""]
    if known[0] != made_by:  # never made, not finished, by other code, or moved
        shutil.rmtree(folder, ignore_errors=True)
        clear(store_path(logs, name, _NAME))  # now, so that stopping at any moment leaves nothing that does not fit
        folder.mkdir(parents=True)
        known = [made_by, *example.prepare(folder)]
        prepared.write_text("\n".join(known), encoding="utf-8")
    place = ["--model", str(folder / "model"), "--logdir", str(logs), "--run", name, "--name", _NAME, "--resume"]
    return attribute([*place, *known[1:], *methods])


@functools.cache
def _sources() -> str:
    """A digest of all code that models, data and maps come from: what other code made is made anew."""
    package = Path(__file__).parents[1]
    pipelines = package.with_name("beam_pipelines")
    files = [path for path in package.rglob("*.py") if package / "plugin" not in path.parents]
    digest = hashlib.sha256()
    for path in sorted([*files, *pipelines.rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}); choose another place with --logdir") from error
