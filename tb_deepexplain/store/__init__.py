"""The attribution store: Parquet files, an index and a manifest. Imports no TensorFlow."""
