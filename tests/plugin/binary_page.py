"""A reader of the binary answer of /api/tiles, for tests: written from docs/http_api.md, independent of the writer."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np


class Page:
    """A page of examples with their maps."""

    def __init__(self, body: bytes) -> None:
        assert body[:4] == b"DXT1"
        (length,) = struct.unpack_from("<I", body, 4)
        self.header: dict[str, Any] = json.loads(body[8 : 8 + length])
        self._blobs = body[-(-(8 + length) // 8) * 8 :]

    def row(self, example_id: str) -> dict[str, Any]:
        return next(row for row in self.header["rows"] if row["id"] == example_id)

    def map(self, example_id: str, method: str) -> dict[str, Any]:
        column = [m["id"] for m in self.header["methods"]].index(method)
        return self.row(example_id)["maps"][column]

    def blob(self, blob_range: dict[str, int]) -> bytes:
        assert blob_range["offset"] % 8 == 0
        return self._blobs[blob_range["offset"] : blob_range["offset"] + blob_range["length"]]

    def values(self, attribution_map: dict[str, Any]) -> np.ndarray:
        """The float values of a map: expanded codes for pictures, float32 as sent for the rest."""
        if "values" in attribution_map:
            return np.frombuffer(self.blob(attribution_map["values"]), "<f4")
        blob, shape = self.blob(attribution_map["codes"]), attribution_map["shape"]
        codes = np.frombuffer(blob, np.int8).reshape(shape).astype(np.float64)
        values = np.sign(codes) * (codes / 127) ** 2 * attribution_map["scale"]
        return np.where(codes == -128, np.nan, values)
