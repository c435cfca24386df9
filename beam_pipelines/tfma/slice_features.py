"""Slice features in TFMA: features of the raw examples by which metrics are sliced, whether model, schema and Transform know them.

TFMA slices by the features in its extracts. A schema leaves out what it does not list, and a feature that Transform makes hides
the raw one of the same name; then a slice is missing, or is by the transformed values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsIter
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.proto import config_pb2

from beam_pipelines.reading.tf_example import ExampleFeatures
from tb_deepexplain.errors import InputError


def with_slicing_specs(eval_config: Any, names: Sequence[str]) -> Any:
    """The config, with a slicing spec for each feature; one without specs slices by nothing, which stays."""
    if not names:
        return eval_config
    extended = config_pb2.EvalConfig()
    extended.CopyFrom(eval_config)
    if not extended.slicing_specs:
        extended.slicing_specs.add()
    for name in names:
        spec = config_pb2.SlicingSpec(feature_keys=[name])
        if spec not in extended.slicing_specs:
            extended.slicing_specs.append(spec)
    return extended


def add_raw_features(extracts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A batch of extracts with these features of the raw examples among its features, and without transformed ones of their names."""
    features = dict(extracts.get(constants.FEATURES_KEY) or {})
    serialized = extracts.get(constants.INPUT_KEY)
    if serialized is not None:
        examples = [ExampleFeatures(bytes(each)) for each in np.asarray(serialized, object).reshape(-1)]
        features |= {name: _stack([one.get(name) for one in examples]) for name in names if _occurs(name, examples)}
    changed = {**extracts, constants.FEATURES_KEY: features}
    if extracts.get(constants.TRANSFORMED_FEATURES_KEY):
        changed[constants.TRANSFORMED_FEATURES_KEY] = _without(extracts[constants.TRANSFORMED_FEATURES_KEY], names)
    return changed


def _occurs(name: str, examples: Iterable[ExampleFeatures]) -> bool:
    return any(example[name].size for example in examples if name in example)


def _stack(values: Sequence[np.ndarray | None]) -> Any:
    """The values of each example, of any number."""
    present = [(row, value) for row, value in enumerate(values) if value is not None and value.size]
    indices = [(row, column) for row, value in present for column in range(value.size)]
    shape = (len(values), max(value.size for _, value in present))
    joined = np.concatenate([value for _, value in present])
    return types.VarLenTensorValue(joined, np.array(indices, np.int64), np.array(shape, np.int64))


def _without(transformed: Any, names: Collection[str]) -> Any:
    """Transformed features, perhaps by model first, without those of these names."""
    if not isinstance(transformed, Mapping):
        return transformed
    return {name: _without(value, names) for name, value in transformed.items() if name not in names}


class CheckSliceFeatures(beam.PTransform):
    """Fails with InputError if there are examples, but none of them has one of the features. The result is empty."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def expand(self, extracts: beam.PCollection[Any]) -> beam.PCollection[Any]:
        present = extracts | "Present" >> beam.FlatMap(_present, self._names) | beam.Distinct()
        return extracts.pipeline | beam.Create([self._names]) | "Check" >> beam.FlatMap(_check, AsIter(present))


def _present(extracts: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """The names of features that a batch has; "" for any batch."""
    features = extracts.get(constants.FEATURES_KEY) or {}
    yield from ("", *(name for name in names if name in features))


def _check(names: Sequence[str], present: Iterable[str]) -> Iterator[Any]:
    known = set(present)
    if known and (missing := [name for name in names if name not in known]):
        raise InputError(
            f"AttributionsExtractor: slice_features={missing[:1]}: no example has this feature; correct the name, or leave it out"
        )
    yield from ()
