"""The command line: a mistake is one line and status 2, before any work; and the real command in a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from beam_pipelines.cli.main import main
from beam_pipelines.engine.runners import choose_runner
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import Run, pictures, write_records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(exported: Callable[[str], Path], tmp_path: Path) -> dict[str, str]:
    """Options of a run that succeeds."""
    source = write_records(tmp_path / "a.tfrecord", pictures(3))
    return {
        "--model": str(exported("image")),
        "--input": str(source),
        "--logdir": str(tmp_path / "logs"),
        "--run": "r",
        "--methods": "saliency",
    }


def test_options_of_a_job_server_are_passed_on() -> None:
    flink = ["--runner=FlinkRunner", "--job_endpoint=localhost:1"]
    choose_runner([*flink, "--number_of_execution_retries=3"])
    with pytest.raises(ParameterError, match="unknown option --batchsize=3; did you mean --batch_size"):
        choose_runner([*flink, "--batchsize=3"], ["--batch_size"])


def flags(options: dict[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in options.items()]


@pytest.mark.parametrize("command", ["explain", "evaluate"])
@pytest.mark.parametrize(("precision", "override"), [("float32", "0"), ("mixed", "0"), ("tf32", None)])
def test_the_command_forbids_tf32_before_tensorflow_is_loaded(
    base: dict[str, str], command: str, precision: str, override: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stop(*_: Any) -> None:
        seen.append(os.environ.get("NVIDIA_TF32_OVERRIDE"))
        raise ParameterError("stopped")

    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(f"beam_pipelines.cli.{command}.plan_input", stop)
    assert main([command, *flags(base | {"--precision": precision})]) == 2
    assert seen == [override]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"--model": "{tmp}/none"}, "no model at .*/none: give a SavedModel directory"),
        ({"--model": "{tmp}/text.txt"}, "is not a SavedModel directory or a .keras, .h5 or .pb file"),
        ({"--input": "{tmp}/*.none"}, "no file matches"),
        ({"--input": "{tmp}/text.txt"}, "text.txt: neither suffix nor content is of a known format; name one with --format: tfrecord, "),
        ({"--input": "{tmp}/empty"}, "hold no records"),
        ({"--logdir": "{tmp}/text.txt/logs"}, "cannot write to .*text.txt is not a directory; choose another --logdir"),
        ({"--labels": "{tmp}/none"}, "--labels .*: No such file or directory; .*, or names separated by commas"),
        ({"--labels": "cat,dog"}, "got 2 class names, but the model has 3 classes"),
        ({"--labels": "cat,,dog"}, "name 2 is empty"),
        ({"--labels": "{tmp}/text.txt"}, "got 1 class names, but the model has 3 classes"),
        ({"--labels": "{tmp}/empty"}, "is empty"),
        ({"--vocab": "{tmp}/latin1"}, "--vocab .*: not UTF-8 text"),
        ({"--methods": "salience"}, "unknown method 'salience'; did you mean saliency"),
        ({"--methods": "saliency,saliency"}, "expected different methods"),
        ({"--methods": ","}, "expected at least one method"),
        ({"--occlusion.step": "2"}, "occlusion is not among --methods saliency"),
        ({"--saliency.steps": "2"}, "saliency has no parameter 'steps'"),
        ({"--methods": "occlusion", "--occlusion.step": "0"}, "step=0 is not accepted; expected .*at least 1"),
        ({"--methods": "occlusion", "--occlusion.window_shape": "9,9,9"}, "does not fit into an example"),
        (
            {"--methods": "shapley_sampling", "--shapley_sampling.sampling_dims": "2,1"},
            "sampling_dims=2,1 makes maps that cannot be shown on image inputs; expected 1,2 or 1,2,3",
        ),
        ({"--target": "best"}, "target best: expected predicted"),
        ({"--target": "3"}, "target 3: the model has 3 classes, numbered from 0"),
        ({"--target": "top:4"}, "target top:4: the model has only 3 classes"),
        ({"--run": "../r"}, "--run '../r': expected a name"),
        ({"--name": "a/b"}, "--name 'a/b': expected letters"),
        ({"--batch_size": "0"}, "--batch_size: 0 is not a whole number of at least 1"),
        ({"--processes_per_gpu": "0"}, "--processes_per_gpu: 0 is not a whole number of at least 1"),
        ({"--gpu_memory": "nan"}, "--gpu_memory: nan is not a number of gigabytes of at least 0.25"),
        ({"--gpu_memory": "4", "--gpus": "0"}, "gpu_memory=4: gpus=0 explains on the CPU; leave one of them out"),
        ({"--precision": "half"}, "--precision: invalid choice: 'half' .choose from '?float32'?, '?tf32'?, '?mixed'?, '?float64'?."),
        ({"--precision": "tf32", "--mixed_precision": ""}, "got mixed_precision and precision='tf32'"),
        ({"--feature": "image"}, "expected INPUT=NAME"),
        ({"--feature": "image=pixels"}, "none of the examples fits .*no feature 'pixels'"),
        ({"--batchsize": "3"}, "unknown option --batchsize=3; did you mean --batch_size"),
        ({"--runner": "DaskRunner"}, "--runner DaskRunner: DaskRunner loses data"),
        ({"--runner": "apache_beam.runners.dask.dask_runner.DaskRunner"}, "loses data"),
        ({"--runner": "NoRunner"}, "--runner NoRunner: there is no such runner; expected one of DirectRunner, "),
        ({"--runner": "FlikRunner"}, "--runner FlikRunner: there is no such runner; did you mean FlinkRunner?"),
        ({"--runner": "PortableRunner"}, "--runner PortableRunner needs --job_endpoint=HOST:PORT"),
        ({"--runner": "Dataflow"}, "Dataflow's workers need this package: give --sdk_container_image=IMAGE"),
        ({"--accelerator": "type:nvidia-l4"}, "--accelerator is only for Dataflow's workers; leave it out with --runner DirectRunner"),
        ({"--direct_num_workers": "many"}, "--direct_num_workers: invalid int value"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(
    base: dict[str, str], tmp_path: Path, changed: dict[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin1").write_bytes("größer".encode("latin1"))
    options = base | {name: value.format(tmp=tmp_path) for name, value in changed.items()}
    assert main(["explain", *flags(options)]) == 2
    lines = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith(("I0", "W0", "WARNING: All log"))
    ]
    assert len(lines) == 1, lines
    assert re.search(reason, lines[0]), lines[0]
    assert lines[0].startswith("tb-deepexplain: ")
    assert not (tmp_path / "logs").exists()


def test_missing_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--model", "m"]) == 2
    assert "required: --input, --logdir, --methods" in capsys.readouterr().err
    assert main(["explane"]) == 2
    assert "unknown command 'explane'; expected demo, explain, evaluate, methods, measures" in capsys.readouterr().err


def test_a_read_only_folder_is_refused(base: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *flags(base | {"--logdir": "/proc/logs"})]) == 2
    errors = capsys.readouterr().err
    assert "cannot write to /proc/logs" in errors
    assert len(errors.splitlines()) == 1


def test_measures_are_listed_from_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures"]) == 0
    assert re.search("infidelity +Infidelity +lower +101 evaluations", capsys.readouterr().out)
    assert main(["measures", "deletion"]) == 0
    assert "--deletion.steps  whole number, at least 1; default 20" in capsys.readouterr().out
    assert main(["measures", "nothing"]) == 2
    assert "unknown measure 'nothing'" in capsys.readouterr().err
    assert main(["measures", "a", "b"]) == 2
    assert capsys.readouterr().err == "usage: tb-deepexplain measures [NAME]\n"


def test_methods_are_listed_from_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    listed = capsys.readouterr().out
    assert all(
        name in listed for name in ("saliency", "gradient_x_input", "integrated_gradients", "occlusion", "intgrad")
    )
    assert main(["methods", "intgrad"]) == 0
    assert "--integrated_gradients.max_evaluations" in capsys.readouterr().out
    assert main(["methods", "nothing"]) == 2
    assert "unknown method 'nothing'" in capsys.readouterr().err


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "beam_pipelines.cli.main", *arguments]


def environment() -> dict[str, str]:
    """The environment of a user, without the log settings of this test process."""
    hidden = ("TF_CPP_", "PYTEST_")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {"PYTHONPATH": str(ROOT)}


_REQUIRED = "the following arguments are required: --input, --logdir, --methods"


@pytest.mark.parametrize(
    ("module", "arguments", "mistake"),
    [
        ("beam_pipelines.cli.main", ["explain", "--help"], ""),
        ("beam_pipelines.attribute", ["--help"], ""),
        ("beam_pipelines.cli.main", ["explain", "--model=m"], _REQUIRED),
        ("beam_pipelines.attribute", ["--model=m"], _REQUIRED),
        (
            "beam_pipelines.cli.main",
            ["explain", "--model=m", "--input=i", "--logdir=l", "--methods=occlusion", "--occlusion.stepp=2"],
            "occlusion has no parameter 'stepp'; did you mean step?",
        ),
        (
            "beam_pipelines.cli.main",
            ["evaluate", "--model=m", "--input=i", "--logdir=l", "--measures=deletions"],
            "unknown measure 'deletions'; did you mean deletion",
        ),
    ],
)
def test_help_and_mistakes_load_nothing_heavy(module: str, arguments: list[str], mistake: str) -> None:
    code = (
        "import atexit, os, runpy, sys\n"
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'pyarrow'}\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "os._exit = sys.exit\n"
        "atexit.register(lambda: print('loaded', sorted(heavy & set(sys.modules))))\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=600, check=False
    )
    assert done.stdout.endswith("loaded []\n")
    if not mistake:
        assert (done.returncode, done.stderr) == (0, "")
        assert "--METHOD.PARAMETER" in done.stdout
    else:
        assert done.returncode == 2
        assert mistake in done.stderr


@pytest.mark.slow
def test_a_run_prints_its_report_and_nothing_else(base: dict[str, str]) -> None:
    done = subprocess.run(
        command("explain", *flags(base)), capture_output=True, text=True, env=environment(), timeout=600, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("explained 3 examples in ")
    assert done.stdout.splitlines()[-1] == f"view with tensorboard --logdir {base['--logdir']}"


@pytest.mark.slow
def test_ctrl_c_leaves_a_store_that_can_be_resumed(image: Run, base: dict[str, str], tmp_path: Path) -> None:
    source = write_records(tmp_path / "many.tfrecord", pictures(1500))
    changed = {"--input": str(source), "--unit_size": "10", "--methods": "saliency,gradient_x_input"}
    options = flags(base | changed | {"--logdir": str(image.logdir)})
    with subprocess.Popen(
        command("explain", *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # As in a terminal. A shell starts background jobs, perhaps this suite, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        wait_for_shards(image, 3, running)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=600)
    assert running.returncode == 130, errors
    assert "units left; the same command with --resume continues" in errors
    assert "Traceback" not in errors
    finished = len(list(image.directory.glob("attributions-*")))
    assert 3 <= finished < 150
    assert not [p for p in image.directory.iterdir() if p.name.startswith(".")]
    assert image(source, "--unit_size=10", "--resume") == 0
    assert image.store.manifest["counts"] == {"examples": 1500, "maps": 3000, "errors": 0}


def wait_for_shards(run: Run, number: int, running: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 600
    while len(StoreWriter(run.directory).finished_units()) < number and time.monotonic() < limit:
        if running.poll() is not None:
            return
        time.sleep(0.05)


def test_a_signature_and_an_output_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signature that parses tf.Examples and has two outputs, as for serving."""
    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def both(examples: Any) -> dict[str, Any]:
        x = tf.io.parse_example(examples, spec)["x"]
        return {"sum": tf.reduce_sum(x, 1, keepdims=True), "squares": x**2}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def other(x: Any) -> dict[str, Any]:
        return {"y": 7 * x}

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures={"both": both, "serving_default": other})
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=[3, 5]))
        writer.write(tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString())
    run = Run(tmp_path / "m", tmp_path / "logs")
    source = tmp_path / "a.tfrecord"
    assert run(source, "--signature=both", "--output=squares", "--target=1", methods="gradient_x_input") == 0
    [values] = run.store.maps([0])
    assert values.ravel().tolist() == [0, 50] and run.store.index["score"].to_pylist() == [25]
    model = run.store.manifest["model"]
    assert (model["signature"], model["output"]) == ("both", "squares")
    assert run(source, "--signature=both", "--output=sum", "--resume", methods="gradient_x_input") == 2
    assert 'output was "squares", now "sum"' in capsys.readouterr().err
    for option, message in (
        (["--signature=none"], "has no signature 'none'; it has 'both', 'serving_default'"),
        (["--signature=both", "--output=none"], "the model has no output 'none'; it has squares, sum"),
    ):
        assert run(source, "--overwrite", *option) == 2
        assert message in capsys.readouterr().err
