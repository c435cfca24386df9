"""`tb-deepexplain demo`: explains four real models by the command `explain`, and shows them in TensorBoard.

`photos.py`, `digits.py`, `reviews.py` and `passengers.py` each prepare a model and its examples. `efficientnet.py` and
`torch_weights.py` have the photographs' model, `training.py` trains the other three, and `records.py` writes the input files.
`packages.py` finds the data in the packages of the extra `demo`, and `serving.py` opens TensorBoard.
"""

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
from beam_pipelines.cli.exit_status import OK
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.layout import store_path

LOGDIR = "demo_logdir"
_ARGUMENTS = "arguments.txt"  # written last: where it exists, model and examples are complete
_STORE = "default"
_DATASETS = {
    "photos": "photographs, EfficientNet-Lite0 trained on ImageNet",
    "digits": "handwritten digits, a small CNN",
    "reviews": "sentences of film reviews, a text CNN",
    "passengers": "passengers of the Titanic, a small net on strings and numbers",
}
_ROOT = Path(__file__).parents[3]


def main(logdir: str | None = None, serve: bool = True, port: int = 6006) -> int:
    """Run the demo; 0, or the exit status of a pipeline that failed. InputError if it cannot start."""
    packages.check()
    logs = Path(logdir or LOGDIR).expanduser().absolute()
    models = logs.parent / f"{logs.name}_models"
    for folder in (logs, models):
        _check_writable(folder)
    if serve:
        serving.check_port(port)
    console, started = Console(highlight=False), time.monotonic()
    for name, title in _DATASETS.items():
        console.print(f"\n[bold]{name}[/]: {title}")
        if status := _explain(name, models / name, logs):
            return status
    console.print(f"\ndone in {time.monotonic() - started:.0f} s")
    if not serve:
        console.print(f"view with tensorboard --logdir {shlex.quote(str(logs))}")
        return OK
    return serving.serve(logs, port, console)


def _explain(name: str, folder: Path, logs: Path) -> int:
    """Prepare model and examples in `folder`, unless they exist, and run the pipeline; its exit status."""
    from beam_pipelines.engine.native_logs import filter_native_stderr

    with get_console().status("loading TensorFlow"), filter_native_stderr():
        import tensorflow as tf

        from beam_pipelines.cli.explain import main as explain
        from tb_deepexplain.store.configuration import clear

        dataset: ModuleType = importlib.import_module(f"beam_pipelines.cli.demo.{name}")
        tf.keras.utils.set_random_seed(0)
        tf.config.list_logical_devices()  # initialises the devices, which print warnings
    options = ["--model", str(folder / "model"), "--logdir", str(logs), "--run", name, "--name", _STORE, "--resume"]
    options.append(f"--methods={','.join(dataset.METHODS)}")
    for method, parameters in dataset.METHODS.items():
        options += [f"--{method}.{parameter}={value}" for parameter, value in parameters.items()]
    version, path = f"{_digest_sources()} in {folder}", folder / _ARGUMENTS
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    if lines[0] != version:  # missing, incomplete, made by other code, or moved
        shutil.rmtree(folder, ignore_errors=True)
        clear(store_path(logs, name, _STORE))  # now, so that an interrupted demo leaves no store of another model
        folder.mkdir(parents=True)
        lines = [version, *dataset.prepare(folder)]
        path.write_text("\n".join(lines), encoding="utf-8")
    return explain([*options, *lines[1:]])


@functools.cache
def _digest_sources() -> str:
    """A digest of all code that models, examples and maps depend on: they are made again when it changes."""
    files = [
        path
        for package in ("beam_pipelines", "tb_deepexplain")
        for path in (_ROOT / package).rglob("*.py")
        if _ROOT / "tb_deepexplain" / "plugin" not in path.parents
    ]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}); choose another folder with --logdir") from error
