"""What a store depends on, compared before it is resumed; and the command's entries in the manifest."""

from __future__ import annotations

from typing import Any

from beam_pipelines.cli.arguments import Arguments
from beam_pipelines.reading import files
from beam_pipelines.reading.preprocess import identify_preprocess
from beam_pipelines.reading.work_unit import Plan
from tb_deepexplain._version import __version__
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.manifest import as_list, describe_measures, describe_methods, describe_store
from tb_deepexplain.recording.model_loading import check_custom_objects
from tb_deepexplain.recording.request import Request, identify_score


def configure(arguments: Arguments, request: Request, model: str, plan: Plan) -> dict[str, Any]:
    """All that the content of a store depends on: a store is resumed only with the same. `model`: its fingerprint."""
    return {
        "version": __version__,
        "model": model,
        "input": plan.fingerprint,
        "format": ",".join(plan.formats),
        "methods": {m["id"]: m["parameters"] for m in describe_methods(request)},
        "measures": {m["id"]: m["parameters"] for m in describe_measures(request)},
        "measured": request.measured if request.measures else None,
        "superpixels": request.superpixels,
        "target": str(request.target),
        "signature": request.signature,
        **({} if request.transform_graph is None else {"transform_graph": request.transform_graph}),
        "output": request.output,
        "inputs": as_list(request.inputs),
        "custom_objects": check_custom_objects(request.custom_objects),
        "logits": request.logits,
        "check_model": request.check_model,
        "check_batch": request.check_batch,
        "score": identify_score(request),
        "max_examples": arguments.max_examples,
        "sample": arguments.sample,
        "only": request.only,
        "labels": as_list(request.labels),
        "vocab": as_list(request.vocabulary),
        "step": request.step,
        "precision": request.precision,
        "unit_size": arguments.unit_size,
        "label_feature": arguments.label_feature,
        "id_feature": arguments.id_feature,
        "features": arguments.features,
        **({"slice_features": list(arguments.slice_features)} if arguments.slice_features else {}),
        "schema": arguments.schema and files.fingerprint(arguments.schema).hex(),
        "resize": arguments.resize,
        "preprocess": arguments.preprocess and identify_preprocess(arguments.preprocess),
    }


def build_manifest(
    arguments: Arguments, request: Request, explainer: BatchExplainer, fingerprint: str, runner: str, records: int
) -> dict[str, Any]:
    """The manifest without the counts, which the store adds. `fingerprint`: of the model. `records`: of the whole input.

    `explainer`: that of this process, which may compute in another precision than the workers of the request.
    """
    options = {
        "input": list(arguments.input),
        "baseline_examples": list(arguments.baseline_examples),
        "preprocess": arguments.preprocess,
        "resize": arguments.resize,
        "max_examples": arguments.max_examples,
        "sample": arguments.sample,
        "only": arguments.only,
        "records_of_input": records,
        "runner": runner,
        "batch_size": arguments.batch_size,
        "unit_size": arguments.unit_size,
        "beam": list(arguments.beam),
    }
    return describe_store(request, explainer.modality, explainer.inputs, fingerprint, arguments.name, options)
