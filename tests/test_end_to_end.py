"""The whole way: a Keras model and TFRecords, the command, a store, TensorBoard, and the numbers of `explain` again."""

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
    """Two runs as a person would make them, from exported models and TFRecords."""
    folder = tmp_path_factory.mktemp("end_to_end")
    models.image().export(folder / "image", verbose=False)
    models.text(strings=True).export(folder / "text", verbose=False)
    write_records(folder / "image.tfrecord", [{"image": x, "label": i % 3} for i, x in enumerate(PICTURES)])
    write_records(folder / "text.tfrecord", [{"text": text, "label": 1} for text in STRINGS])
    (folder / "vocabulary.txt").write_text("\n".join(["", "[UNK]", *models.VOCABULARY]) + "\n")
    for kind, *more in (("image",), ("text", f"--vocab={folder}/vocabulary.txt")):
        for method, given in OPTIONS[kind].items():
            for name, value in given.items():
                more.append(f"--{method}.{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
        place = [f"--model={folder / kind}", f"--input={folder / kind}.tfrecord", f"--logdir={folder / 'logs'}"]
        methods = "--methods=" + ",".join(m.id for m in dx.methods())
        assert command(["explain", *place, f"--run={kind}", methods, *more]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(logdir: Path) -> dict[tuple[str, str], np.ndarray]:
    """(run, method) → what the Python function gives for the same model and examples."""
    found = {}
    for kind, xs in (("image", PICTURES), ("text", np.array(STRINGS))):
        graph = dx.load_model(logdir / kind)
        for method in dx.methods():
            given = OPTIONS[kind].get(method.id, {})
            result = dx.explain(method.id, graph, xs, target="predicted", return_result=True, **given)
            found[kind, method.id] = result.attributions if kind == "image" else result.tokens
    return found


def _ask(server: Server, route: str, **asked: Any) -> tuple[bytes, Any]:
    query = urllib.parse.urlencode(asked)
    with urllib.request.urlopen(f"{server.address}/data/plugin/deepexplain{route}?{query}", timeout=30) as answer:
        return answer.read(), answer.headers


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_tensorboard_serves_what_explain_computes(
    logdir: Path, expected: dict[tuple[str, str], np.ndarray], load_fast: str
) -> None:
    server = Server(logdir / "logs", "--load_fast", load_fast)
    try:
        stores = json.loads(_ask(server, "/api/stores")[0])["stores"]
        assert [(s["run"], s["store"], s["kind"]) for s in stores] == [
            ("image", "default", "image"),
            ("text", "default", "text"),
        ]
        for (kind, method), maps in expected.items():
            for i in (0, len(maps) - 1):
                asked = {"run": kind, "store": "default", "id": f"{kind}:{i:06d}", "method": method}
                body, headers = _ask(server, "/api/tile", **asked)
                actual = np.frombuffer(body, "<f4").reshape(json.loads(headers["X-Shape"]))
                wanted = maps[i]
                if kind == "text":  # padding is not stored
                    words = len(STRINGS[i].split())
                    assert not wanted[words:].any()
                    wanted = wanted[:words]
                assert actual.shape == wanted.shape
                # The store keeps 11 bits of each value, relative to the largest of its map.
                np.testing.assert_allclose(actual, wanted, rtol=2**-10, atol=abs(wanted).max() * 2**-11)
    finally:
        server.stop()
