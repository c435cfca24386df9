"""The TensorBoard plugin: serves the page, and the stores of a log directory to it.

Read `api.py` first: the table of the routes, with their parameters and types of answers. Then follow a request:

  HTTP
    routes.py              paths, status codes, caching
    api.py                 the table of routes; openapi.py makes openapi.json and docs/http_api.md of it
    parameters.py          query strings → values
    answers.py             the types of the answers; json_numbers.py: NaN → null
    errors.py              requests that are refused
  stores
    catalogue.py           which stores TensorBoard's runs announce; opens them
    log_directories.py     where a run lies: --logdir, --logdir_spec, symbolic links
    served_store.py        a committed store: its manifest, and its index for SQL
    index_source.py        the files of an index as a table for SQL
    duckdb_engine.py       DuckDB, which runs the queries
  queries
    filter_sql.py          terms and sort fields → SQL
    selection_sql.py       a step and a target → SQL
    example_order.py       the examples of a filter, in order
    index_rows.py          the rows of the index for some examples
    pivot_columns.py       columns: methods, steps, targets or runs
  answers
    views.py               plain data for most routes
    page_of_maps.py        a page of examples with inputs and maps, in binary
    summary.py, export.py  the panels of the Summary; files of numbers
    tile_encoding.py       maps → eight-bit codes, which `frontend/src/maps/colour.ts` colours
    thumbnails.py          input pictures, reduced
    tolerant_reads.py      reads from damaged stores

TensorBoard imports this module when it starts, so it loads neither TensorFlow, Keras, Beam nor Arrow.
"""

from __future__ import annotations

from tensorboard.plugins import base_plugin


class DeepExplainLoader(base_plugin.TBLoader):
    """Makes the plugin when TensorBoard starts."""

    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin:
        from tb_deepexplain.plugin.routes import DeepExplainPlugin

        return DeepExplainPlugin(context)
