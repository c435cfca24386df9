"""Manifests with one to three values replaced by others, removed or doubled; and the requests that every route answers."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JUNK: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, -(2**63) - 1, 2**53 + 1, "", "x", "a" * 5000, "../..", "\ud800", "\u0000", "predicted", "all",
    "image", "text", "tabular", "mixed", "saliency", "1e999", [], [None], [0], ["x"], [[]], {}, {"": None}, {"id": {}}, {"n": 1},
]  # fmt: skip


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each value within a value of JSON."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


def mutate(manifest: dict[str, Any], rng: random.Random) -> str:
    """A mutated manifest as JSON."""
    mutated: Any = copy.deepcopy(manifest)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        every = list(places(mutated))
        # The keys at the top are few, and most readers use them: they are chosen as often as all others.
        place = rng.choice([p for p in every if len(p) <= 1] if rng.random() < 0.5 else every)
        if not place:
            mutated = copy.deepcopy(rng.choice(JUNK)) if rng.random() < 0.02 else mutated
            if not isinstance(mutated, dict):
                break
            continue
        parent = mutated
        for key in place[:-1]:
            parent = parent[key]
        old, action = parent[place[-1]], rng.random()
        if action < 0.2:
            del parent[place[-1]]
        elif action < 0.3:
            parent[place[-1]] = [old, old] if rng.random() < 0.5 else {"value": old}
        elif action < 0.35 and isinstance(parent, list):
            parent.append(old)
        else:
            parent[place[-1]] = copy.deepcopy(rng.choice(JUNK))
    text = json.dumps(mutated)
    match rng.random():
        case chance if chance < 0.01:
            return text[: rng.randrange(len(text))]
        case chance if chance < 0.02:
            return text.replace(": 0", ": NaN").replace(": null", ": 1e999")
        case chance if chance < 0.03:
            return text.replace(": null", ": " + "[" * 5000 + "]" * 5000, 1).replace(": 0", ": " + "9" * 5000)
    return text


def requests(run: str, store: str, example: str, method: str) -> list[tuple[str, dict[str, Any]]]:
    """A request to every route, and one for every panel and pivot."""
    query = {"run": run, "store": store}
    one = {**query, "id": example}
    return [
        ("/api/stores", {}),
        ("/api/query", query),
        ("/api/query", {**query, "filter": "is:error text:a", "sort": "id", "columns": "gap,target_name,label_name"}),
        ("/api/facet", {**query, "sort": "gap"}),
        *(("/api/tiles", {**query, "pivot": pivot, "change": 1}) for pivot in ("methods", "steps", "targets", "runs")),
        ("/api/tiles", {**query, "target": 1, "step": 0}),
        ("/api/tile", {**one, "method": method, "flat": 1}),
        ("/api/example", one),
        ("/api/export", {**query, "format": "csv"}),
        ("/api/export", {**query, "format": "jsonl", "values": 1}),
        *(("/api/summary", {**query, "panel": panel}) for panel in ("faithfulness", "gap", "agreement", "global")),
    ]


def replace_manifest(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
