"""--accelerator and --min_ram: resources that the steps with the model request of Dataflow's workers."""

from __future__ import annotations

import argparse

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


class ResourceHintOptions(PipelineOptions):
    """Resource hints for the model steps only."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--accelerator",
            help="Dataflow: the GPU of a worker, as type:nvidia-l4;count:1;install-nvidia-driver",
        )
        parser.add_argument("--min_ram", help="Dataflow: the least memory of a worker, as 24GB")

    def hints(self) -> dict[str, str]:
        """The hints that are set, by name."""
        return {name: value for name in ("accelerator", "min_ram") if (value := getattr(self, name))}


def add_hints(transform: beam.PTransform, options: PipelineOptions) -> beam.PTransform:
    """A model step with the resource hints of the options."""
    hints = options.view_as(ResourceHintOptions).hints()
    return transform.with_resource_hints(**hints) if hints else transform
