"""AttributionGen, a TFX component that explains a model's predictions.

`component.py`, the file to read first, has the component and its artifact; `executor.py` runs it, after `start_check.py`
has explained one example of each split; `statistics.py` computes the statistics of attributions; `parameters.py` checks
the component's parameters and stores them as TFX keeps them. `examples.py`, `transformed_labels.py` and `baseline.py`
handle the examples of a TFX pipeline.
"""
