"""Attributions in TensorFlow Model Analysis.

`extractor.py`, the file to read first, explains the examples of an evaluation; `extract_attributions.py` is its Beam
step, `eval_config.py` reads its options from the EvalConfig, and `slice_features.py` keeps features of the raw examples
for slices. `pooling.py` sums maps to the named numbers that TFMA takes.

`metrics.py` has the metrics for an EvalConfig. `drift.py` computes the attribution drift between two models, which
`drift_metric.py` gives to TFMA, after `reference_check.py` has compared how a store was explained; `measure_metric.py`
does so for measures. Both read extracts by `metric_scope.py`.
"""
