"""The attribution store: Parquet files for each work unit, an index and a manifest. Imports no TensorFlow.

Read `layout.py`, `records.py`, `writer.py` and `reader.py`, in this order.

    layout.py              which files there are
    records.py             the rows of its tables and their columns
    configuration.py       what its content depends on; whether a run may resume it or must replace it
    columns.py             records as columns, and their tables
    shard_writer.py        writes the shard of one work unit
    map_encoding.py        maps as bytes, and back
    slice_features.py      named features of the examples, kept beside their maps
    slice_columns.py       their columns of the index, of numbers or text
    png.py                 pictures as PNG
    media_types.py         PNG, JPEG, ...: the type of an encoded picture, and its bytes without EXIF data
    writer.py              `StoreWriter.commit` writes the index and, last, the manifest
    index.py               one row for each map, without the map
    measure_means.py       means of measures with confidence intervals (`stats/intervals.py`), for the manifest
    training_store.py      a store that grows while a model trains
    failures.py            the most common errors of a run
    write_errors.py        full disks, missing permissions, ...: what to do
    marker.py              how TensorBoard learns that a run holds a store
    manifest.py            the manifest: its keys with their types, read once and checked
    reader.py              `Store`: reads a committed store
    shard_checks.py        whether a shard is that of its unit, with the columns, rows and examples that the index names
    row_groups.py          reads a row group within bounds, by the headers of its pages
    version_1.py           stores of the first format
"""
