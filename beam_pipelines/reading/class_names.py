"""Matches the class names of the input to those of --labels."""

from __future__ import annotations

from tb_deepexplain.errors import InputError


def match_class_names(
    input_names: tuple[str, ...] | None, labels: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """(class names to show, label values in the data), both by class number.

    `input_names`: those that the input defines. `labels`: those of --labels, whose order wins. If the input names the
    same number of classes quite differently (folders named by WordNet ids, for example), its names are matched to
    --labels by their order. Raises InputError if the two do not fit together.
    """
    if input_names is None or labels is None or set(input_names) <= set(labels):
        names = labels or input_names
        return names, names or ()
    if set(input_names) & set(labels) or len(input_names) != len(labels):
        unknown = ", ".join([name for name in input_names if name not in labels][:5])
        raise InputError(
            f"--labels names {len(labels)} classes, but the input has {len(input_names)}, and {unknown} is not among "
            "--labels; name every class, or ignore the input's labels with --label_feature none"
        )
    return labels, input_names
