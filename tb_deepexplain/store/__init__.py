"""The attribution store: Parquet files for each work unit, an index and a manifest. Imports no TensorFlow.

Read first: `layout.py` (which files there are), `records.py` (their columns), `writer.py` (how a store is written and committed:
`StoreWriter.commit`), `reader.py` (`Store`). `map_encoding.py` makes bytes of maps; `version_1.py` reads the first format.
"""
