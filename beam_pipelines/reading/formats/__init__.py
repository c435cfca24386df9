"""THE table of file formats.

To add a format, write `formats/ID.py` (`jsonl.py` is a short one to copy) and add one row here. What the file defines is
described in `format_interface.Format`.
"""

from __future__ import annotations

from collections.abc import Mapping

from beam_pipelines.reading.format_interface import Format
from beam_pipelines.reading.formats import tfrecord
from tb_deepexplain.store.media_types import SIGNATURES

FORMATS: Mapping[str, Format] = {
    row.id: row
    for row in (
        Format(
            id="tfrecord",
            description="tf.Example protos",
            suffixes=(".tfrecord", ".tfrecords", ".tfrec"),
            recognizes=tfrecord.is_tfrecord,
            gzip=True,
        ),
        Format(
            id="parquet",
            description="one example per row",
            suffixes=(".parquet", ".pq"),
            signatures=(b"PAR1",),
            columnar=True,
        ),
        Format(id="csv", description="a header, then one example per row", suffixes=(".csv", ".tsv"), gzip=True),
        Format(
            id="jsonl",
            description="one JSON object per line",
            suffixes=(".jsonl", ".ndjson"),
            signatures=(b"{",),
            gzip=True,
        ),
        Format(
            id="pictures",
            description="a folder of pictures; subfolders are labels",
            suffixes=(".png", ".jpg", ".jpeg", ".gif", ".bmp"),
            signatures=tuple(signature for signature in SIGNATURES if len(signature) > 2),
            folders=True,
        ),
        Format(
            id="arrays",
            description="NumPy arrays named like the inputs",
            suffixes=(".npz", ".npy"),
            signatures=(b"PK\x03\x04", b"\x93NUMPY"),
        ),
        Format(
            id="tfds",
            description="a prepared TensorFlow Datasets directory",
            marker_files=("dataset_info.json", "features.json"),
        ),
    )
}
