"""docs/zoo.md from the tables: `python -m tests.zoo.page > docs/zoo.md`. What it says holds because the tests of the zoo pass."""

from __future__ import annotations

from collections.abc import Sequence

from tb_deepexplain.attribution.methods import TABLE
from tests.zoo.hugging_face_models import HUGGING_FACE
from tests.zoo.keras_applications import APPLICATIONS
from tests.zoo.keras_hub_models import KERAS_HUB
from tests.zoo.keras_layers import TABLE_OF_LAYERS
from tests.zoo.keras_preprocessing import CATEGORIES
from tests.zoo.member import REASONS, Member
from tests.zoo.tensorflow_1_models import TENSORFLOW_1

SECTIONS: dict[str, Sequence[Member]] = {
    "Keras' layers, one by one": TABLE_OF_LAYERS,
    "Keras' layers for categories and text": CATEGORIES,
    "keras.applications": APPLICATIONS,
    "KerasHub": KERAS_HUB,
    "Hugging Face (TensorFlow classes)": HUGGING_FACE,
    "TensorFlow 1": TENSORFLOW_1,
}
HEAD = """# The zoo

Every method on models that people hold, small and with random weights. `make test-zoo` computes every pair again; this page is
generated from its tables (`make docs`), and a pair that is not as it says fails.

- **✓** right: equal to a literal computation that uses nothing of the library. Gradients: TensorFlow's tape around the model as its
  owner calls it. Occlusion: a loop over the windows. Shapley values: all coalitions. Integrated gradients: the sum, against the
  model's scores. ε-LRP and DeepLIFT: Keras' activations replaced one by one, or the sum.
- **✓!** right, or a warning says that the promised sum is missed: the last digits of the processor decide.
- **a reason**: refused, and the reason was checked.
- **✗** a known fault, listed below the table.
- A format is right if its map is that of the model object.

Of categories and text, gradients are taken at their encoding and summed to one value for each raw value; occlusion and Shapley values
replace the raw value.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, _totals(), *(_section(title, members) for title, members in SECTIONS.items())])


def cell(member: Member, subject: str) -> str:
    """What is expected of a method or format."""
    method = next((m for m in TABLE if m.id == subject), None)
    if method is None and subject not in member.formats:
        return "–"
    if member.expected(member.wrong, method or subject):
        return "✗"
    reason = member.expected(member.refused, method or subject)
    if reason:
        return reason
    return "✓!" if member.expected(member.warned, method or subject) else "✓"


def _subjects(members: Sequence[Member]) -> list[str]:
    return [*(m.id for m in TABLE), *dict.fromkeys(f for member in members for f in member.formats)]


def _totals() -> str:
    cells = [cell(m, s) for members in SECTIONS.values() for m in members for s in _subjects(members)]
    pairs = [c for c in cells if c != "–"]
    wrong, refused = pairs.count("✗"), sum(c in REASONS for c in pairs)
    models = sum(map(len, SECTIONS.values()))
    right = len(pairs) - wrong - refused
    return f"{models} models, {len(pairs)} pairs: {right} right, {refused} refused for a true reason, {wrong} wrong.\n"


def _section(title: str, members: Sequence[Member]) -> str:
    subjects = _subjects(members)
    lines = [
        f"## {title}",
        "",
        f"| model | {' | '.join(s.replace('_', ' ') for s in subjects)} |",
        "|---" * (len(subjects) + 1) + "|",
    ]
    lines += [f"| {m.name} | {' | '.join(cell(m, s) for s in subjects)} |" for m in members]
    faults = {f"- {m.name}, {key}: {cause}" for m in members for key, cause in m.wrong.items()}
    return "\n".join([*lines, "", *sorted(faults), *([""] if faults else [])])


if __name__ == "__main__":
    print(page(), end="")
