"""End to end: Keras model and TFRecords → command → store → TensorBoard, which serves the values of `dx.explain`."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tb_deepexplain as dx
from beam_pipelines.cli.main import main as command
from tests import models
from tests.browser.tensorboard_server import Server
from tests.pipeline_runs import write_records

PICTURES = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 3)).astype(np.float32)
OPTIONS = {
    "image": {"occlusion": {"window_shape": (2, 2, 3)}, "shapley_sampling": {"samples": 1}},
    "text": {m: {"on_unsupported": "gradient"} for m in ("epsilon_lrp", "deeplift")},  # it has an LSTM
}
STRINGS = ["a great film", "dull", "not unheardof film", "film"]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the command, from exported models and TFRecords."""
    folder = tmp_path_factory.mktemp("end_to_end")
    models.image().export(folder / "image", verbose=False)
    models.text(strings=True).export(folder / "text", verbose=False)
    write_records(folder / "image.tfrecord", [{"image": x, "label": i % 3} for i, x in enumerate(PICTURES)])
    write_records(folder / "text.tfrecord", [{"text": text, "label": 1} for text in STRINGS])
    (folder / "vocabulary.txt").write_text("\n".join(["", "[UNK]", *models.VOCABULARY]) + "\n")
    for modality, *options in (("image",), ("text", f"--vocab={folder}/vocabulary.txt")):
        for method, parameters in OPTIONS[modality].items():
            for name, value in parameters.items():
                options.append(f"--{method}.{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
        paths = [f"--model={folder / modality}", f"--input={folder / modality}.tfrecord", f"--logdir={folder / 'logs'}"]
        methods = "--methods=" + ",".join(m.id for m in dx.methods())
        assert command(["explain", *paths, f"--run={modality}", methods, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(logdir: Path) -> dict[tuple[str, str], np.ndarray]:
    """(run, method) → the maps of `dx.explain` for the same model and examples."""
    maps = {}
    for modality, xs in (("image", PICTURES), ("text", np.array(STRINGS))):
        graph = dx.load_model(logdir / modality)
        for method in dx.methods():
            parameters = OPTIONS[modality].get(method.id, {})
            result = dx.explain(method.id, graph, xs, target="predicted", return_result=True, **parameters)
            maps[modality, method.id] = result.attributions if modality == "image" else result.tokens
    return maps


def _get(server: Server, route: str, **parameters: Any) -> tuple[bytes, Any]:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{server.address}/data/plugin/deepexplain{route}?{query}", timeout=120) as answer:
        return answer.read(), answer.headers


@pytest.mark.parametrize("load_fast", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_tensorboard_serves_what_explain_computes(
    logdir: Path, expected: dict[tuple[str, str], np.ndarray], load_fast: str
) -> None:
    server = Server(logdir / "logs", "--load_fast", load_fast)
    try:
        stores = json.loads(_get(server, "/api/stores")[0])["stores"]
        assert [(s["run"], s["store"], s["modality"]) for s in stores] == [
            ("image", "default", "image"),
            ("text", "default", "text"),
        ]
        for (modality, method), maps in expected.items():
            for i in (0, len(maps) - 1):
                example_id = f"{modality}:{i:06d}"
                body, headers = _get(server, "/api/tile", run=modality, store="default", id=example_id, method=method)
                actual = np.frombuffer(body, "<f4").reshape(json.loads(headers["X-Shape"]))
                expected_map = maps[i]
                if modality == "text":  # padding is not stored
                    words = len(STRINGS[i].split())
                    assert not expected_map[words:].any()
                    expected_map = expected_map[:words]
                assert actual.shape == expected_map.shape
                # The store keeps 11 bits of each value, relative to the largest of its map.
                np.testing.assert_allclose(actual, expected_map, rtol=2**-10, atol=abs(expected_map).max() * 2**-11)
    finally:
        server.stop()
