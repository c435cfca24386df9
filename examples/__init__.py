"""Examples to copy: `tfx_pipeline.py`, a TFX pipeline with AttributionGen, and `tfma_slices.py`, attributions in TFMA."""
