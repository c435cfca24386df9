"""Examples to copy: `beam_pipeline.py`, elements of every kind through Attribute; `tfx_pipeline.py`, a TFX pipeline with AttributionGen;
and `tfma_slices.py`, attributions in TFMA, on the data and the model of `tumours.py`."""
