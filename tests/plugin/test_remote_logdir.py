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


def test_a_remote_logdir_is_read_like_a_local_one(remote: tuple[str, Path], served: Callable[..., Client]) -> None:
    remote_logdir, local_logdir = remote
    remote_client, local_client = served(local_logdir, remote_logdir), served(local_logdir)
    described = get(remote_client, "/api/stores").json
    assert described["logdir"] == remote_logdir and [s["run"] for s in described["stores"]] == ["pictures", "reviews"]
    for run in ("pictures", "reviews"):
        query = {"run": run, "store": "attributions", "sort": "integrated_gradients.gap", "limit": 30}
        a, b = page(remote_client, **query), page(local_client, **query)
        assert [row["id"] for row in a.header["rows"]] == [row["id"] for row in b.header["rows"]]
        for one, other in zip(a.header["rows"], b.header["rows"], strict=True):
            for remote_map, local_map in zip(one["maps"], other["maps"], strict=True):
                assert (remote_map is None) == (local_map is None)
                if remote_map is not None and "codes" in remote_map:
                    np.testing.assert_array_equal(a.values(remote_map), b.values(local_map))
        assert summary(remote_client, "gap", run=run, store="attributions") == summary(
            local_client, "gap", run=run, store="attributions"
        )
    reviews = {"run": "reviews", "store": "attributions", "filter": 'text:"not bad"'}
    assert (
        get(remote_client, "/api/query", **reviews).json["id"]
        == get(local_client, "/api/query", **reviews).json["id"]
        != []
    )
    tile = {"run": "pictures", "store": "attributions", "id": "img-0002", "method": "occlusion"}
    assert get(remote_client, "/api/tile", **tile).data == get(local_client, "/api/tile", **tile).data


def test_a_missing_manifest_or_bucket_is_a_sentence(remote: tuple[str, Path], served: Callable[..., Client]) -> None:
    remote_logdir, local_logdir = remote
    directory = store_path(remote_logdir, "reviews", "attributions")
    (directory / MANIFEST).unlink()
    client = served(local_logdir, remote_logdir)
    pictures, reviews = get(client, "/api/stores").json["stores"]
    assert "error" not in pictures and "no committed store" in reviews["error"]
    answer = get(client, "/api/query", run="reviews", store="attributions")
    assert answer.status_code == 503 and "finish its run first" in answer.text
    lost = get(
        served(local_logdir, "s3://nobody-has-this-bucket/logs"), "/api/query", run="pictures", store="attributions"
    )
    assert lost.status_code == 503
