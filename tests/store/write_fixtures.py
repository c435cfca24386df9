"""Writes the fixtures of the present store format: `python -m tests.store.write_fixtures`, once for each format version.

A fixture is a log directory with four runs: pictures with a measure, texts, tables with several inputs, and a training of three
steps. Fixtures of older versions stay as their versions wrote them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tb_deepexplain.recording.display import encode_png
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import FORMAT_VERSION, Attribution, Failure, Input, Part, model_input
from tb_deepexplain.store.training_store import TrainingStore, training_configuration
from tb_deepexplain.store.writer import StoreWriter

FIXTURES = Path(__file__).parent / "fixtures"
METHODS: list[dict[str, Any]] = [
    {"id": "saliency", "title": "Saliency", "family": "gradient", "signed": False, "sums_to": None,
     "baseline_parameter": None, "parameters": {}},
    {"id": "intgrad", "title": "Integrated gradients", "family": "gradient", "signed": True,
     "sums_to": "score - baseline_score", "baseline_parameter": "baseline", "parameters": {"baseline": None}},
]  # fmt: skip
MEASURES = [{"id": "deletion", "title": "Deletion", "better": "lower", "axis": "share of features removed",
             "parameters": {"steps": 4}}]  # fmt: skip
DELETION = {
    "deletion": 0.4, "deletion_at": [0, 0.25, 0.5, 0.75, 1], "deletion_curve": [1, 0.5, 0.25, 0.1, 0],
    "deletion_random": 0.5, "deletion_random_curve": [1, 0.75, 0.5, 0.25, 0],
}  # fmt: skip
CLASSES = ["no", "yes"]
PIXELS = [model_input("pixels", "float32", (8, 8, 3), "image")]
COLUMNS = [
    model_input(name, "float32", shape, "tabular")
    for name, shape in {"age": (), "income": (1,), "signal": (3, 2), "codes": (4,)}.items()
]
PARTS: list[Part] = [{"input": one["name"], "shape": [size or 0 for size in one["shape"]]} for one in COLUMNS]
RNG = np.random.default_rng(0)


def write(logdir: Path) -> None:
    pictures = [
        Input(f"picture-{i}", "image", image=encode_png(RNG.uniform(size=(8, 8, 3))), label=0, inputs=PIXELS)
        for i in range(3)
    ]
    write_store(logdir, "image", pictures, [maps(row, (8, 8, 3), measures=DELETION) for row in pictures])
    texts = [
        Input(
            f"text-{i}",
            "text",
            tokens=["not", "bad", "film", ""][: 3 + i % 2],
            label=0,
            inputs=[model_input("ids", "int32", (4,), "text")],
        )
        for i in range(3)
    ]
    write_store(logdir, "text", texts, [maps(row, 3 + i % 2, target=None) for i, row in enumerate(texts)], "sum")
    write_store(logdir, "tabular", tables(3), [maps(row, 12, parts=PARTS) for row in tables(3)])
    training = TrainingStore(
        logdir,
        "training",
        "default",
        training_configuration("epoch", model="0"),
        lambda: manifest("tabular", "predicted"),
    )
    training.open(0, tables(2), overwrite=False)
    for step in range(3):
        training.add(step, [row for shown in tables(2) for row in maps(shown, 12, step=step, parts=PARTS)], [])
    training.finish()


def tables(count: int) -> list[Input]:
    rows = ([30.0 + i, 1.5, *RNG.uniform(size=6), 0, 1, 2, 3] for i in range(count))
    return [Input(f"row-{i}", "tabular", values=values, label=0, inputs=COLUMNS) for i, values in enumerate(rows)]


def maps(
    shown: Input,
    shape: Any,
    step: int = 0,
    target: int | None = 1,
    measures: dict[str, Any] | None = None,
    parts: list[Part] | None = None,
) -> list[Attribution]:
    rows = []
    for method in METHODS:
        signed = method["signed"]
        values = RNG.normal(size=shape).astype(np.float32)
        rows.append(
            Attribution(
                shown.example_id, method["id"], values if signed else np.abs(values), target=target,
                target_label=None if target is None else CLASSES[target], label=0, label_name=CLASSES[0], predicted=1, score=2.5,
                probability=0.75, baseline_score=0.5, gap=0.01 if signed else None, margin=0.5, loss=1.4, disagreement=0.3,
                evaluations=50, step=step, warnings=["a warning"] if signed else [], measures=measures or {}, parts=parts,
            )
        )  # fmt: skip
    return rows


def write_store(
    logdir: Path, run: str, inputs: list[Input], rows: list[list[Attribution]], target: str = "predicted"
) -> None:
    measures = MEASURES if run == "image" else []
    writer = StoreWriter(store_path(logdir, run, "default"), measures=[measure["id"] for measure in measures])
    with writer.shard("00000-00000") as shard:
        shard.add(
            [row for one in rows for row in one], inputs, [Failure("bad", "parse", "InputError", "it has no feature x")]
        )
    writer.commit(["00000-00000"], manifest(run, target, measures))
    write_marker(logdir, run, "default")


def manifest(modality: str, target: str, measures: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "name": "default", "modality": modality,
        "inputs": {"image": PIXELS, "tabular": COLUMNS, "text": [model_input("ids", "int32", (None,), "text")]}[modality],
        "step": 0, "methods": METHODS, "measures": measures or [], "measured": 1.0, "superpixels": None, "target": target,
        "mixed_precision": False, "labels": CLASSES,
        "model": {"path": "models/m", "fingerprint": "0" * 16, "signature": None, "output": None}, "options": {},
        "versions": {"tensorflow": "2.21.0"}, "created": "2026-11-20T12:00:00+00:00",
    }  # fmt: skip


if __name__ == "__main__":
    directory = FIXTURES / f"v{FORMAT_VERSION}"
    shutil.rmtree(directory, ignore_errors=True)
    write(directory)
