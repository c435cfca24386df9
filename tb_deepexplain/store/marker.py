"""The marker event: how TensorBoard learns that a run holds an attribution store, and under which name.

One event file for each store lies in the run's directory. It holds a single tensor summary whose plugin content names the
store. This module imports nothing large, because TensorBoard imports it at start.
"""

from __future__ import annotations

import json
import os
import re
import time

from tb_deepexplain.errors import ParameterError

PLUGIN_NAME = "deepexplain"
MARKER_VERSION = 1  # of the marker's content, not of the store
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def write_marker(logdir: str | os.PathLike[str], run: str, name: str) -> None:
    """Announce the store `name` of `run` to TensorBoard, unless it is announced already."""
    check_store_name(name)
    from tb_deepexplain.storage import atomic_write, make_directory, to_path

    directory = to_path(logdir) / run
    suffix = f".{PLUGIN_NAME}.{name}"
    # TensorBoard reads only the newest event file: a second marker would hide the file that a training is still writing.
    if any(path.name.endswith(suffix) and ".tfevents." in path.name for path in directory.glob("events.out.*")):
        return
    make_directory(directory)
    with (
        atomic_write(directory / f"events.out.tfevents.{int(time.time()):010d}{suffix}") as temporary,
        temporary.open("wb") as file,
    ):
        _write_events(file, name)


def check_store_name(name: object, option: str = "store name") -> None:
    """ParameterError unless `name` is a path component that TensorBoard and every file system accept."""
    if not is_store_name(name):
        raise ParameterError(
            f"{option} {name!r}: expected letters, digits, '_', '-' or '.', at most 128, not starting with '.' or '-'"
        )


def is_store_name(name: object) -> bool:
    """Whether `name` is a path component that TensorBoard and every file system accept."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def marker_content(name: str) -> bytes:
    """The plugin content of a marker event."""
    return json.dumps({"store": name, "format_version": MARKER_VERSION}).encode()


def read_marker(content: bytes) -> str | None:
    """The store name in a marker's plugin content; None if the content is not that of a marker."""
    try:
        fields = json.loads(content)
    except ValueError:
        return None
    name = fields.get("store") if isinstance(fields, dict) else None
    return name if is_store_name(name) else None


def _write_events(file: object, name: str) -> None:
    # TensorBoard's EventFileWriter imports TensorFlow for its file system; its record writer is enough.
    from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=marker_content(name)),
        data_class=summary_pb2.DATA_CLASS_TENSOR,
    )
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, int_val=[MARKER_VERSION])
    tensor.tensor_shape.SetInParent()  # a scalar
    value = summary_pb2.Summary.Value(tag=name, metadata=metadata, tensor=tensor)
    now = time.time()
    records = RecordWriter(file)
    for event in (
        event_pb2.Event(wall_time=now, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=now, step=0, summary=summary_pb2.Summary(value=[value])),
    ):
        records.write(event.SerializeToString())
