"""A logdir in an object store: a real S3 server on this machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from werkzeug.test import Client

from tb_deepexplain.storage import to_path
from tb_deepexplain.store.layout import MANIFEST, store_path
from tests.plugin import stores
from tests.plugin.api_client import get, page, summary


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """(s3://BUCKET/logs with stores, the same stores and their marker events on this machine)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    for name, value in {**names, "AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    stores.write_image_store(tmp_path)
    stores.write_text_store(tmp_path)
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    files = to_path(f"s3://{bucket}").fs  # type: ignore[attr-defined]
    files.mkdir(bucket)
    files.put(f"{tmp_path}/", f"{bucket}/logs", recursive=True)
    yield f"s3://{bucket}/logs", tmp_path
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_remote_logdir_is_read_as_one_of_this_machine(
    remote: tuple[str, Path], served: Callable[..., Client]
) -> None:
    there, here = remote
    far, near = served(here, there), served(here)
    described = get(far, "/api/stores").json
    assert described["logdir"] == there and [s["run"] for s in described["stores"]] == ["pictures", "reviews"]
    for run in ("pictures", "reviews"):
        asked = {"run": run, "store": "attributions", "sort": "integrated_gradients.gap", "limit": 30}
        a, b = page(far, **asked), page(near, **asked)
        assert [row["id"] for row in a.header["rows"]] == [row["id"] for row in b.header["rows"]]
        for one, other in zip(a.header["rows"], b.header["rows"], strict=True):
            for mine, its in zip(one["maps"], other["maps"], strict=True):
                assert (mine is None) == (its is None)
                if mine is not None and "codes" in mine:
                    np.testing.assert_array_equal(a.values(mine), b.values(its))
        assert summary(far, "gap", run=run, store="attributions") == summary(near, "gap", run=run, store="attributions")
    reviews = {"run": "reviews", "store": "attributions", "filter": 'text:"not bad"'}
    assert get(far, "/api/query", **reviews).json["id"] == get(near, "/api/query", **reviews).json["id"] != []
    tile = {"run": "pictures", "store": "attributions", "id": "img-0002", "method": "occlusion"}
    assert get(far, "/api/tile", **tile).data == get(near, "/api/tile", **tile).data


def test_what_is_not_there_is_a_sentence(remote: tuple[str, Path], served: Callable[..., Client]) -> None:
    there, here = remote
    directory = store_path(there, "reviews", "attributions")
    (directory / MANIFEST).unlink()
    client = served(here, there)
    pictures, reviews = get(client, "/api/stores").json["stores"]
    assert "error" not in pictures and "no committed store" in reviews["error"]
    answer = get(client, "/api/query", run="reviews", store="attributions")
    assert answer.status_code == 503 and "finish its run first" in answer.text
    lost = get(served(here, "s3://nobody-has-this-bucket/logs"), "/api/query", run="pictures", store="attributions")
    assert lost.status_code == 503
