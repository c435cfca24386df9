"""Attributions in TensorFlow Model Analysis.

`extractor.py`, the file to read first, explains the examples of an evaluation; `metrics.py` has the metrics for an
EvalConfig; `drift.py` computes the attribution drift between two models, which `drift_metric.py` gives to TFMA;
`pooling.py` sums maps to the named numbers that TFMA takes.
"""
