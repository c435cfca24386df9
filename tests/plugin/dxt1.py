"""A second reader of the binary page, for tests: written from docs/http_api.md, sharing nothing with the writer."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np


class Page:
    def __init__(self, body: bytes) -> None:
        assert body[:4] == b"DXT1"
        (length,) = struct.unpack_from("<I", body, 4)
        self.header: dict[str, Any] = json.loads(body[8 : 8 + length])
        self._blobs = body[-(-(8 + length) // 8) * 8 :]

    def row(self, identity: str) -> dict[str, Any]:
        return next(row for row in self.header["rows"] if row["id"] == identity)

    def map(self, identity: str, method: str) -> dict[str, Any]:
        number = [m["id"] for m in self.header["methods"]].index(method)
        return self.row(identity)["maps"][number]

    def blob(self, place: dict[str, int]) -> bytes:
        assert place["offset"] % 8 == 0
        return self._blobs[place["offset"] : place["offset"] + place["length"]]

    def values(self, shown: dict[str, Any]) -> np.ndarray:
        """The float values of a map: expanded codes for pictures, float32 as sent for the rest."""
        if "values" in shown:
            return np.frombuffer(self.blob(shown["values"]), "<f4")
        codes = np.frombuffer(self.blob(shown["codes"]), np.int8).reshape(shown["shape"]).astype(np.float64)
        values = np.sign(codes) * (codes / 127) ** 2 * shown["scale"]
        return np.where(codes == -128, np.nan, values)
