"""Stores for the plugin's tests: real pictures and real sentences, with every odd case a viewer must survive."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data

from tb_deepexplain.recording.display import encode_png
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Attribution, Failure, Input, InputPart, Part, model_input
from tb_deepexplain.store.slice_features import as_extras
from tb_deepexplain.store.writer import StoreWriter

SIDE = 96
ZERO, NAN, LACKING, NEGATED, PLAIN = "img-0003", "img-0005", "img-0007", "img-0009", "img-0008"
CLASSES = [
    "tabby cat",
    "espresso",
    "astronaut",
    "<b>rocket</b> & co",
    "galaxies",
    "brick wall",
    "coins",
    "lawn",
    "moon",
    "retina",
]
_PICTURES = [
    "chelsea",
    "coffee",
    "astronaut",
    "rocket",
    "hubble_deep_field",
    "brick",
    "coins",
    "grass",
    "moon",
    "retina",
]
METHODS: list[dict[str, Any]] = [
    {"id": "saliency", "title": "Saliency", "family": "gradient", "signed": False, "sums_to": None, "parameters": {}},
    {"id": "gradient_x_input", "title": "Gradient × input", "family": "gradient", "signed": True, "sums_to": None, "parameters": {}},
    {"id": "integrated_gradients", "title": "Integrated gradients", "family": "gradient", "signed": True,
     "sums_to": "score - baseline_score", "baseline_parameter": "baseline",
     "parameters": {"tolerance": 0.01, "baseline": None}},
    {"id": "occlusion", "title": "Occlusion", "family": "perturbation", "signed": True, "sums_to": None, "baseline_parameter": "baseline",
     "parameters": {"window_shape": [8, 8, 3], "baseline": "array [32, 32, 3] 6c1f"},
     "baseline_picture": base64.b64encode(encode_png(np.indices((32, 32)).sum(0)[..., None] / 62 * [1, 0.5, 0])).decode()},
]  # fmt: skip
MEASURES: list[dict[str, Any]] = [
    {"id": "sensitivity_n", "title": "Sensitivity-n", "better": "higher", "axis": "share of features removed", "parameters": {"sizes": 3}},
    {"id": "deletion", "title": "Deletion", "better": "lower", "axis": "share of features removed", "parameters": {"steps": 4}},
    {"id": "stability", "title": "Stability under noise", "better": "higher", "axis": None, "parameters": {}},
]  # fmt: skip
MEASURED = 24  # of the pictures
SENTENCES = [
    "a warm and quietly funny film that never once talks down to its audience",
    "the plot is a mess , the jokes are stale and the ending is simply awful",
    "not bad at all , though the second half drags",
    "i wanted to like it but the dialogue is so wooden that even this great cast cannot save it",
    "beautifully shot , wonderfully acted , and somehow still dull",
    "one of the best surprises of the year : sharp , tender and very well written",
    "two hours of my life that i will never get back",
    "it is not the masterpiece the poster promises , but it is never boring",
    "the children loved it ; the parents slept",
    "<script>alert('five stars')</script> is what the worst review bots would say",
    "a terrible , lazy sequel with nothing new to say",
    "gorgeous music and a perfect last scene make up for a slow start",
]
_TONE = {"warm": .8, "funny": 1.1, "never": -.3, "mess": -1.2, "stale": -.9, "awful": -1.8, "not": -.7, "bad": -1.1, "drags": -.8,
         "like": .3, "wooden": -1.0, "great": 1.3, "cannot": -.4, "save": .2, "beautifully": 1.2, "wonderfully": 1.3, "dull": -1.4,
         "best": 1.6, "surprises": .7, "sharp": .6, "tender": .7, "well": .5, "masterpiece": 1.2, "boring": -1.3, "loved": 1.5,
         "slept": -.4, "worst": -1.7, "terrible": -1.6, "lazy": -1.0, "nothing": -.8, "gorgeous": 1.4, "perfect": 1.5, "slow": -.6,
         "stars": .6, "but": -.2, "never_back": -1}  # fmt: skip


def pictures(count: int) -> list[tuple[np.ndarray, int]]:
    """(RGB uint8 crop, class) of scikit-image's photographs."""
    rng = np.random.default_rng(0)
    sources = []
    for name in _PICTURES:
        picture = np.asarray(getattr(data, name)())
        picture = np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]
        sources.append(np.asarray(Image.fromarray(picture).resize((160, 160), Image.Resampling.LANCZOS)))
    crops = []
    for number in range(count):
        label = number % len(sources)
        y, x = rng.integers(0, 160 - SIDE, 2)
        crops.append((sources[label][y : y + SIDE, x : x + SIDE], label))
    return crops


def image_maps(picture: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps that look like attributions: edges and blobs of the picture itself."""
    x = picture.astype(np.float32) / 255
    grey = x.mean(2)
    blob = ndimage.gaussian_filter(grey, 2) - ndimage.gaussian_filter(grey, 9)
    envelope = np.exp(-((np.indices(grey.shape) - SIDE / 2) ** 2).sum(0) / (2 * 30**2))[..., None]
    edge = np.abs(ndimage.sobel(x, 0)) + np.abs(ndimage.sobel(x, 1))
    noise = rng.normal(size=x.shape).astype(np.float32)
    gradient = ndimage.gaussian_filter(noise, (0.7, 0.7, 0)) * edge
    block = np.repeat(np.repeat((blob[..., None] * envelope).reshape(12, 8, 12, 8, 1).mean((1, 3)), 8, 0), 8, 1)
    return {
        "saliency": np.abs(gradient) * (0.3 + envelope),
        "gradient_x_input": gradient * x * envelope * 0.02,
        "integrated_gradients": (blob[..., None] * edge * envelope * 0.1 + 0.002 * gradient * envelope).astype(
            np.float32
        ),
        "occlusion": np.repeat(block, 3, 2).astype(np.float32),
    }


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def manifest(
    name: str, modality: str, labels: list[str] | None, methods: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    return {
        "name": name, "modality": modality, "step": 0, "methods": methods, "target": "predicted", "labels": labels,
        "model": {"path": "models/pictures", "fingerprint": "0" * 16}, "options": {}, "versions": {"tensorflow": "2.21.0"},
        "created": "2026-11-01T12:00:00Z", **more,
    }  # fmt: skip


def write_image_store(logdir: Path, run: str = "pictures", name: str = "attributions", count: int = 60) -> Path:
    """Pictures in three shards; examples ZERO, NAN, LACKING and NEGATED (the negative of PLAIN) are what they say."""
    rng = np.random.default_rng(1)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory, measures=[measure["id"] for measure in MEASURES])
    crops = pictures(count)
    plain: dict[str, np.ndarray] = {}
    for unit in range(3):
        with writer.shard(f"{unit:05d}") as shard:
            for number in range(unit * count // 3, (unit + 1) * count // 3):
                picture, label = crops[number]
                identity = f"img-{number:04d}"
                shard.add(inputs=[Input(identity, "image", image=png(picture), label=label)])
                maps = image_maps(picture, rng)
                if identity == PLAIN:
                    plain = maps
                if identity == NEGATED:
                    maps = {k: v if k == "saliency" else -plain[k] for k, v in maps.items()}
                if identity == ZERO:
                    maps["integrated_gradients"] = np.zeros_like(maps["integrated_gradients"])
                if identity == NAN:
                    maps["occlusion"][40:48, 16:56] = np.nan
                if identity == LACKING:
                    del maps["gradient_x_input"]
                wrong = rng.random() < 0.18
                predicted = int(rng.integers(10)) if wrong else label
                shard.add(
                    _rows(
                        identity,
                        maps,
                        label,
                        predicted,
                        float(rng.uniform(0.3, 0.6) if wrong else rng.uniform(0.7, 1)),
                        rng,
                        CLASSES,
                        measured=number < MEASURED,
                    )
                )
            if unit == 2:
                shard.add(errors=[Failure("img-9999", "read", "InputError", "cannot decode picture")])
    measures = {"measures": MEASURES, "measured": MEASURED / count}
    writer.commit([f"{u:05d}" for u in range(3)], manifest(name, "image", CLASSES, METHODS, **measures))
    write_marker(logdir, run, name)
    return directory


def write_text_store(logdir: Path, run: str = "reviews", name: str = "attributions", count: int = 36) -> Path:
    rng = np.random.default_rng(2)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    labels = ["negative", "positive"]
    with writer.shard("00000") as shard:
        for number in range(count):
            words = SENTENCES[number % len(SENTENCES)].split()
            if number >= len(SENTENCES):
                words = words + SENTENCES[(number * 5 + 3) % len(SENTENCES)].split()
            if number == 20:
                words = [w for s in SENTENCES * 4 for w in s.split()]
            tone = np.array([_TONE.get(word, 0) for word in words], np.float32)
            padding = 6
            tokens = [*words, *[""] * padding]
            base = np.concatenate([tone, np.zeros(padding)]).astype(np.float32)
            maps = {
                m["id"]: (base * rng.uniform(0.6, 1.2) + rng.normal(0, 0.06, len(base))).astype(np.float32)
                for m in METHODS
            }
            maps["saliency"] = np.abs(maps["saliency"])
            positive = tone.sum() > 0
            label = int(positive) if number % 7 else int(not positive)
            identity = f"review-{number:03d}"
            shard.add(inputs=[Input(identity, "text", tokens=tokens, label=label)])
            shard.add(_rows(identity, maps, label, int(positive), float(rng.uniform(0.6, 0.99)), rng, labels))
        pieces = ["[CLS]", "un", "##believ", "##able", "good", ",", "not", "dull", "[SEP]", "", ""]
        identity = "review-pieces"
        shard.add(
            inputs=[Input(identity, "text", tokens=pieces, word_ids=[-1, 0, 0, 0, 1, 2, 3, 4, -1, -1, -1], label=1)]
        )
        line = np.array([3, 0.2, 0.5, 0.4, 0.9, 0.01, -0.2, 0.3, -3, 0, 0], np.float32)
        shard.add(
            _rows(
                identity, {m["id"]: np.abs(line) if not m["signed"] else line for m in METHODS}, 1, 1, 0.97, rng, labels
            )
        )
    writer.commit(["00000"], manifest(name, "text", labels, METHODS))
    write_marker(logdir, run, name)
    return directory


def write_tabular_store(logdir: Path, run: str = "wine", name: str = "attributions", count: int = 30) -> Path:
    rng = np.random.default_rng(3)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    features = [
        "alcohol",
        "malic acid",
        "ash",
        "alkalinity of ash",
        "magnesium",
        "phenols",
        "flavanoids",
        "colour",
        "hue",
        "proline",
    ]
    with writer.shard("00000") as shard:
        for number in range(count):
            values = rng.uniform(0.5, 20, len(features)).astype(np.float32)
            maps = {m["id"]: (rng.normal(0, 1, len(features)) * values / 10).astype(np.float32) for m in METHODS}
            maps["saliency"] = np.abs(maps["saliency"])
            label = number % 3
            shard.add(inputs=[Input(str(number), "tabular", features=features, values=values.tolist(), label=label)])
            shard.add(_rows(str(number), maps, label, label if number % 6 else 2, 0.8, rng, None))
    writer.commit(["00000"], manifest(name, "tabular", None, METHODS))
    write_marker(logdir, run, name)
    return directory


def _rows(
    identity: str,
    maps: dict[str, np.ndarray],
    label: int,
    predicted: int,
    probability: float,
    rng: np.random.Generator,
    labels: list[str] | None,
    measured: bool = False,
) -> list[Attribution]:
    score, baseline = float(8 * probability + rng.normal()), float(rng.normal(0, 0.4))
    rows = []
    for method, values in maps.items():
        sums = method == "integrated_gradients"
        gap = float(rng.normal(0, 0.02) * (score - baseline)) if sums else float("nan")
        rows.append(
            Attribution(
                identity, method, values, target=predicted, target_label=labels[predicted] if labels else None, label=label,
                label_name=labels[label] if labels else None, predicted=predicted, score=score, probability=probability,
                baseline_score=baseline if method in ("integrated_gradients", "occlusion") else float("nan"), gap=gap,
                evaluations=64, warnings=["did not reach the tolerance"] if abs(gap) > 0.2 else [],
                measures=_measures(method, rng) if measured else {},
            )
        )  # fmt: skip
    return rows


def _measures(method: str, rng: np.random.Generator) -> dict[str, Any]:
    """Saliency does no better than random maps; the more elaborate the method, the better."""
    skill = [m["id"] for m in METHODS].index(method) / len(METHODS)
    noise = rng.normal(0, 0.03, 4)
    at, whole = np.linspace(0, 1, 5), np.linspace(0.9, 0.1, 5)
    fall = (whole - 0.6 * skill * np.sin(np.pi * at) * whole).tolist()
    shares = [0.1, 0.4, 0.8]
    return {
        "sensitivity_n": skill + noise[0], "sensitivity_n_random": noise[1],
        "sensitivity_n_curve": [skill + noise[0]] * 3, "sensitivity_n_random_curve": [noise[1]] * 3, "sensitivity_n_at": shares,
        "deletion": float(np.mean(fall)) + noise[2] / 9, "deletion_random": 0.5 + noise[3] / 9,
        "deletion_curve": fall, "deletion_random_curve": whole.tolist(), "deletion_at": at.tolist(),
        "stability": 0.8 + 0.1 * skill,
    }  # fmt: skip


STEPS, TARGETS = (0, 500, 2000), (0, 1, 2)


def write_steps_store(
    logdir: Path, run: str = "training", name: str = "attributions", count: int = 30, strength: float = 1.0
) -> Path:
    """Two methods, three steps, three targets of each example; the last two examples lack the step 500."""
    rng = np.random.default_rng(5)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    methods = METHODS[1:3]
    with writer.shard("00000") as shard:
        for number, (picture, label) in enumerate(pictures(count)):
            identity = f"train-{number:02d}"
            shard.add(inputs=[Input(identity, "image", image=png(picture), label=label % 3)])
            maps = image_maps(picture, rng)
            for step in STEPS:
                if number >= count - 2 and step == 500:
                    continue
                predicted = label % 3 if step else 0
                for method in methods:
                    values = maps[method["id"]] * strength * (1 + step / 500)
                    for target in TARGETS:
                        sign = 1 if target == predicted else -0.5
                        shard.add(
                            [
                                Attribution(
                                    identity, method["id"], sign * values, target=target, target_label=CLASSES[target],
                                    label=label % 3, label_name=CLASSES[label % 3], predicted=predicted, step=step,
                                    score=float(sign + step / 1000 + number / 100), probability=0.6 if sign == 1 else 0.2,
                                    baseline_score=0.0, gap=0.01, evaluations=8,
                                )
                            ]
                        )  # fmt: skip
    writer.commit(["00000"], manifest(name, "image", CLASSES, methods, target="all"))
    write_marker(logdir, run, name)
    return directory


def write_signal_store(logdir: Path, run: str = "signals", name: str = "attributions", count: int = 8) -> Path:
    """Examples of three inputs: an age, a heartbeat of 200 values, and 60 bases of DNA as one-hot codes."""
    rng = np.random.default_rng(7)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    shapes = {"age": [1], "ecg": [200], "dna": [60, 4]}
    inputs = [model_input(part, "float32", shape, "tabular") for part, shape in shapes.items()]
    with writer.shard("00000") as shard:
        for number in range(count):
            t = np.linspace(0, 4, 200) + number / 7
            beat = np.exp(-(((t % 1) - 0.4) ** 2) / 0.001) + 0.2 * np.sin(2 * np.pi * t)
            bases = np.eye(4)[rng.integers(0, 4, 60)]
            bases[20:26] = np.eye(4)[[3, 0, 3, 0, 0, 0]]  # TATAAA
            motif = np.exp(-((np.arange(60) - 22.5) ** 2) / 8)[:, None] * bases
            values = np.concatenate([[40 + number], beat, bases.ravel()])
            credit = np.concatenate(
                [[0.3], 0.6 * beat * np.sin(2 * t), (motif - 0.1 * rng.random((60, 4)) * bases).ravel()]
            )
            maps = {m["id"]: (credit * rng.uniform(0.7, 1.2)).astype(np.float32) for m in METHODS}
            maps["saliency"] = np.abs(maps["saliency"])
            stored_input = Input(str(number), "tabular", inputs=inputs, values=values.tolist(), label=number % 2)
            shard.add(_rows(str(number), maps, number % 2, 1, 0.8, rng, None), [stored_input])
    writer.commit(["00000"], manifest(name, "tabular", None, METHODS))
    write_marker(logdir, run, name)
    return directory


def write_mixed_store(logdir: Path, run: str = "recipes", name: str = "attributions", count: int = 12) -> Path:
    """Examples with a picture, a text and numbers beside strings, and a map for each of them."""
    rng = np.random.default_rng(6)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    cities, table = ["Bern", "Lyon", "Oslo"], ["price", "seats", "city"]
    longest = max(len(sentence.split()) for sentence in SENTENCES)
    shapes = {"photo": (SIDE, SIDE, 3), "review": (longest,), **dict.fromkeys(table, ())}
    inputs = [
        model_input(name, "string" if name in ("review", "city") else "float32", () if name == "review" else shape,
                    {"photo": "image", "review": "text"}.get(name, "tabular"))
        for name, shape in shapes.items()
    ]  # fmt: skip
    parts: list[Part] = [{"input": name, "shape": list(shape)} for name, shape in shapes.items()]
    with writer.shard("00000") as shard:
        for number, (picture, label) in enumerate(pictures(count)):
            words = SENTENCES[number % len(SENTENCES)].split()
            tokens = words + [""] * (longest - len(words))
            raw = {"price": 8.5 + 3.25 * number, "seats": 20.0 + number, "city": cities[number % 3]}
            shown = [
                InputPart(input="photo", modality="image", image=png(picture)),
                InputPart(input="review", modality="text", tokens=tokens),
                *(
                    InputPart(input=key, modality="tabular", values=[None if key == "city" else float(value)],
                              texts=[str(value)] if key == "city" else None)
                    for key, value in raw.items()
                ),
            ]  # fmt: skip
            example = f"meal-{number:02}"
            shard.add(inputs=[Input(example, "mixed", label=label % 2, inputs=inputs, parts=shown)])
            tone = np.array([_TONE.get(word, 0.02) for word in tokens]) * (np.array(tokens) != "")
            for method, on_picture in image_maps(picture, rng).items():
                row = next(m for m in METHODS if m["id"] == method)
                of_table = rng.normal(0, 0.6, 3)
                values = np.concatenate([on_picture.ravel(), tone * rng.uniform(0.6, 1.2, longest), of_table])
                score = float(values.sum())
                shard.add([
                    Attribution(
                        example, method, values if row["signed"] else np.abs(values), target=1, target_label="full",
                        label=label % 2, predicted=1, score=score, baseline_score=0.1, probability=0.8, parts=parts,
                        gap=0.004 if row["sums_to"] else None, evaluations=50,
                    )
                ])  # fmt: skip
    writer.commit(["00000"], manifest(name, "mixed", ["empty", "full"], METHODS))
    write_marker(logdir, run, name)
    return directory


PLANS, CITIES = ("basic", "pro", "team"), ("Bern", "Lyon", "Oslo", "São Paulo")
SLICES = ("plan", "city", "age", "account.plan type", "label")  # the last is a field of the page, too


def customer(number: int) -> dict[str, str]:
    """The slice features of a customer, as a store keeps them; every seventh has no city."""
    values = {
        "plan": PLANS[number % 3],
        "city": CITIES[number % 4],
        "age": str(20 + 7 * number % 61 + (0.5 if number % 5 == 0 else 0)),
        "account.plan type": f"{PLANS[number % 3]} {'yearly' if number % 2 else 'monthly'}",
        "label": f"{number % 9:02}",
    }
    return {name: value for name, value in values.items() if number % 7 or name != "city"}


def write_customer_store(logdir: Path, run: str = "customers", name: str = "attributions", count: int = 36) -> Path:
    """Numbers of customers, explained; beside them features that the model does not read, in two shards."""
    rng = np.random.default_rng(8)
    directory = store_path(logdir, run, name)
    writer = StoreWriter(directory)
    features, labels = ["visits", "income", "months"], ["leaves", "stays"]
    for unit in range(2):
        with writer.shard(f"{unit:05d}") as shard:
            for number in range(unit * count // 2, (unit + 1) * count // 2):
                values = rng.uniform(1, 30, len(features)).astype(np.float32)
                maps = {m["id"]: (rng.normal(0, 1, len(features)) * values / 10).astype(np.float32) for m in METHODS}
                maps["saliency"] = np.abs(maps["saliency"])
                extras, identity = as_extras(customer(number)), f"c-{number:02}"
                shown = Input(
                    identity, "tabular", features=features, values=values.tolist(), label=number % 2, extras=extras
                )
                rows = _rows(identity, maps, number % 2, int(number % 5 > 1), float(rng.uniform(0.5, 1)), rng, labels)
                shard.add(rows, [shown])
    slices = [{"name": feature} for feature in SLICES]
    writer.commit(["00000", "00001"], manifest(name, "tabular", labels, METHODS, slice_features=slices))
    write_marker(logdir, run, name)
    return directory
