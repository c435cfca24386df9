"""What a store's maps say together, as plain data; no HTTP here."""

from __future__ import annotations

from typing import Any

from tb_deepexplain.plugin.grid import Grid


def faithfulness(grid: Grid) -> dict[str, Any]:
    """What the measures say of each method: means with 95 % intervals, beside those of random maps."""
    manifest = grid.manifest
    kept = {key: manifest.get(key) for key in ("measured", "superpixels", "evaluation")}
    return {
        "version": manifest["version"],
        "examples": manifest["counts"]["examples"],
        "methods": [{"id": method["id"], "title": method["title"]} for method in grid.methods],
        "measures": manifest.get("measures") or [],
        "found": manifest.get("faithfulness") or {},
        **kept,
    }


KINDS = {"faithfulness": faithfulness}
