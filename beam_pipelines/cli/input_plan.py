"""Where a command writes and what it reads, checked before anything heavy is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from beam_pipelines.cli.arguments import Arguments
from beam_pipelines.reading import beam_hdfs
from beam_pipelines.reading.class_names import match_class_names
from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.selection import take_first, take_sample
from beam_pipelines.reading.tfmd_schema import load_schema
from beam_pipelines.reading.work_unit import Plan
from tb_deepexplain.errors import InputError
from tb_deepexplain.store import configuration
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import check_store_name


def plan_input(arguments: Arguments) -> tuple[Path, Plan]:
    """The directory of the store, and the work units of the input.

    ParameterError, InputError or StoreError if the directory cannot be written or the input holds no records.
    """
    check_store_name(arguments.name, "--name")
    directory = store_path(arguments.logdir, arguments.run, arguments.name)
    configuration.check_writable(directory)
    beam_hdfs.configure(arguments.beam)
    plan = make_plan(find_files(arguments.input, arguments.format), arguments.unit_size, named_features(arguments))
    if not plan.record_count:
        raise InputError(f"--input {' '.join(arguments.input)}: the files hold no records; give files with examples")
    return directory, plan


def named_features(arguments: Arguments) -> list[str]:
    """The features that the options name."""
    of_inputs = (name for names in arguments.features.values() for name in names.split(","))
    return [*of_inputs, arguments.label_feature, *arguments.slice_features]


def select_records(arguments: Arguments, plan: Plan) -> Plan:
    """The part of the plan that --max_examples and --sample choose."""
    if arguments.max_examples is None:
        return plan
    if arguments.sample is None:
        return take_first(plan, arguments.max_examples)
    return take_sample(plan, arguments.max_examples, arguments.sample, arguments.unit_size)


def describe_input(arguments: Arguments, plan: Plan) -> tuple[Arguments, RecordSpec]:
    """The arguments with the class names of the input, if it defines some, and how its records are read."""
    schema = load_schema(arguments.schema) if arguments.schema else None
    names = plan.class_names if arguments.label_feature == "label" else None  # the input names the classes of `label`
    if schema and names is None:
        names = schema.class_names(arguments.label_feature)
    labels, class_names = match_class_names(names, arguments.labels)
    record_spec = RecordSpec(
        features=arguments.features,
        label_feature=arguments.label_feature,
        id_feature=arguments.id_feature,
        slice_features=arguments.slice_features,
        class_names=class_names,
        resize=arguments.resize,
        preprocess=arguments.preprocess,
        schema=schema,
    )
    return dataclasses.replace(arguments, labels=labels), record_spec
