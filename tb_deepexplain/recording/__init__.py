"""From examples to rows of a store, for pipelines and the training callback.

Read first: `request.py` (what is explained), `example.py`, then `batch_explainer.py`, which explains a batch. `targets.py` chooses
the classes, `map_measures.py` measures the maps, `display.py` makes what a person sees, `manifest.py` describes the run.
"""
