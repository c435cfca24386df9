"""Attributions in your own Beam pipeline: `examples | Attribute(model, ["intgrad"]) | WriteAttributions(logdir)`.

Use them if examples do not come from files, or attributions do not go into a store. (The command line runs the same explainer and
writer over files, in work units that can be resumed.) `attribute.py`, the file to read first, explains; `write_attributions.py` writes
a store, of several outputs joined by `merge_attributions.py`; `rows.py` makes plain rows; `model_handler.py` is for Beam's RunInference.
`elements.py` has what goes in and out; `element_parser.py` parses elements, whose kinds `element_kinds.py` knows; `output_hints.py` are
Beam's type hints of what comes out. `request_check.py` refuses a request before any element, `tallies.py` a run of too many errors;
its counts have the errors of a precision, too.

A pipeline is built without TensorFlow: steps import it on the workers, as does the check of a model that can be read at once.
"""

from beam_pipelines.transforms.attribute import Attribute
from beam_pipelines.transforms.elements import Attributions, Explained, Failure, digest
from beam_pipelines.transforms.model_handler import AttributionModelHandler
from beam_pipelines.transforms.rows import ToRows
from beam_pipelines.transforms.write_attributions import WriteAttributions

__all__ = [
    "Attribute",
    "AttributionModelHandler",
    "Attributions",
    "Explained",
    "Failure",
    "ToRows",
    "WriteAttributions",
    "digest",
]
