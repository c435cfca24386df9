"""The TensorBoard plugin: serves the page, and the stores of a log directory to it.

Read `api.py` first: the table of the routes, with their parameters and the types of their answers (`answers.py`).

    routes.py          HTTP: paths, status codes, caching
    parameters.py      query strings → values
    catalogue.py       which stores TensorBoard's runs announce; opens them
    served_store.py    a committed store, with the SQL engine over its index
    example_order.py   the examples of a filter in an order        (filter_grammar.py, filter_sql.py)
    index_rows.py      the rows of the index for some examples     (selection_sql.py, index_source.py)
    views.py           plain data for most routes; summary.py, export.py and page_of_maps.py for the others
    tile_encoding.py   maps as bytes: the colour of a pixel begins here and ends in the page
    openapi.py         docs/openapi.json and docs/http_api.md

TensorBoard imports this module when it starts, so it loads neither TensorFlow, Keras, Beam nor Arrow.
"""

from __future__ import annotations

from tensorboard.plugins import base_plugin


class DeepExplainLoader(base_plugin.TBLoader):
    """Makes the plugin when TensorBoard starts."""

    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin:
        from tb_deepexplain.plugin.routes import DeepExplainPlugin

        return DeepExplainPlugin(context)
