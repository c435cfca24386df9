"""Small TFRecord files, runs of the pipeline over them, and their maps in a form that can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_pipelines.cli.explain import main
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.closeness import assert_map_close

_OF_RANKS = {"disagreement", "stability", "deletion", "insertion", "road"}
_LOCATION = {"shard", "row_group", "row", "input_shard", "input_row_group", "input_row"}


def serialize(features: Mapping[str, Any]) -> bytes:
    """A tf.Example: bytes and str become bytes lists, floats float lists, integers int64 lists."""

    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, bytes | str):
            return tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[value.encode() if isinstance(value, str) else value])
            )
        array = np.ravel(value)
        if array.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=array))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=array))

    features_ = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=features_)).SerializeToString()


def write_records(path: Path, examples: Iterable[Mapping[str, Any] | bytes], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for example in examples:
            writer.write(example if isinstance(example, bytes) else serialize(example))
    return path


def pictures(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pictures for the 8×8×3 model, as floats."""
    rng = np.random.default_rng(seed)
    return [{"image": rng.uniform(0, 1, (8, 8, 3)).astype(np.float32), "label": i % 3} for i in range(n)]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the pipeline into `logdir/run/.../default`."""

    model: Path
    logdir: Path

    def __call__(self, source: Path | str, *options: str, methods: str = "saliency,gradient_x_input") -> int:
        return main(
            [
                f"--model={self.model}",
                f"--input={source}",
                f"--logdir={self.logdir}",
                "--run=r",
                f"--methods={methods}",
                *options,
            ]
        )

    @property
    def directory(self) -> Path:
        return store_path(self.logdir, "r", "default")

    @property
    def store(self) -> Store:
        return Store(self.directory)

    def maps(self) -> dict[tuple[str, str, int | None], tuple[dict[str, Any], np.ndarray, dict[str, Any]]]:
        """(example, method, target) → (row, map, input), without the location in the store."""
        store = self.store
        everything = range(store.index.num_rows)
        maps = {}
        for row, values, shown in zip(
            store.index.to_pylist(), store.maps(everything), store.inputs(everything), strict=True
        ):
            kept = {key: value for key, value in row.items() if key not in _LOCATION}
            maps[row["example_id"], row["method"], row["target"]] = kept, values, shown
        assert len(maps) == store.index.num_rows
        return maps


def assert_same(one: Run, other: Run) -> None:
    """Assert that all rows are equal, except for the rounding of float32 sums in another order.

    Where two values of a map are equal but for rounding, their ranks may be exchanged. A statistic of ranks changes then by up to
    12 / P² (P ranks) for each such pair: 0.003 for a picture of 8 × 8.
    """
    left, right = one.maps(), other.maps()
    assert list(left) == list(right)
    for key, (row, values, shown) in left.items():
        row_, values_, shown_ = right[key]
        assert_map_close(values_, values, share=1e-3)  # the stored float16 values may be rounded to either side
        assert shown == shown_, key
        for name, value in row.items():
            if isinstance(value, float):
                if name in _OF_RANKS:
                    tolerance = 0.02
                elif name in ("score", "baseline_score", "gap"):
                    tolerance = 1e-5 * (np.abs(values).sum() + abs(row["score"]))
                else:
                    tolerance = 1e-5
                np.testing.assert_allclose(value, row_[name], rtol=1e-3, atol=tolerance, err_msg=f"{key} {name}")
            else:
                assert value == row_[name], (key, name)
