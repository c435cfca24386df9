"""A storage that does not answer is given up in time, and named; one that answers is used."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import upath
from apache_beam.io.filesystem import FileSystem

from beam_pipelines.reading import beam_hdfs, files
from beam_pipelines.reading.input_files import find_files
from tb_deepexplain import first_request
from tb_deepexplain.errors import InputError, ParameterError, StoreError, UnsupportedModelError
from tb_deepexplain.storage import to_path
from tb_deepexplain.store import configuration
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Storages that have not been asked yet, and little patience."""
    monkeypatch.setattr(first_request, "SECONDS", 1.5)
    monkeypatch.setattr(first_request, "_SECONDS_TO_NOTICE", 0.5)
    first_request.forget()
    yield
    first_request.forget()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield "{}:{}".format(*server.getsockname())


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the address of s3://."""
    import s3fs

    def set_endpoint(address: str) -> None:
        names = {"ENDPOINT_URL": f"http://{address}", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}
        for name, value in names.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        s3fs.S3FileSystem.clear_instance_cache()

    return set_endpoint


@pytest.mark.parametrize("scheme", ["s3", "webhdfs"])
@pytest.mark.filterwarnings("ignore:UPath 'webhdfs'")
def test_a_server_that_says_nothing_is_given_up(
    scheme: str, silent: str, s3: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    s3(silent)
    root = {"s3": "s3://bucket", "webhdfs": f"webhdfs://{silent}"}[scheme]
    described = f"{root} (AWS_ENDPOINT_URL=http://{silent})" if scheme == "s3" else root
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(ParameterError) as raised:
        files.find(f"{root}/data/*.csv")
    assert (
        str(raised.value)
        == f"{described} has not answered for 1.5 seconds; check its name, its address and the network"
    )
    assert [record.message for record in caplog.records] == [
        f"waiting for {described} to answer, for 1.5 seconds at most"
    ]
    assert time.monotonic() - started < 8
    with pytest.raises(ParameterError, match="has not answered"):  # at once: it is remembered
        Store(store_path(f"{root}/logs", "r", "default"))
    assert len(caplog.records) == 1


@pytest.mark.filterwarnings("ignore:UPath 'webhdfs'")
def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_request, "SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
    with pytest.raises(
        ParameterError, match=rf"webhdfs://{address} cannot be reached \(.+\); check its name, its address"
    ):
        to_path(f"webhdfs://{address}/x")


def test_an_error_is_an_answer() -> None:
    def refuse() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        first_request.first_request("s3://b", refuse)
    assert first_request.first_request("s3://b", refuse) is None


def test_an_error_of_another_library_with_a_refused_connection_inside() -> None:
    def connect() -> None:
        try:
            raise ConnectionRefusedError("port 1")
        except OSError as error:
            raise RuntimeError("EndpointConnectionError") from error

    with pytest.raises(ParameterError, match=r"gs://b cannot be reached \(EndpointConnectionError\)"):
        first_request.first_request("gs://b", connect)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("abfs://c", "abfs://c: Install adlfs .*; pip install adlfs"),
        ("gs://b", r"gs://b: .*gcsfs.*; pip install 'tensorboard-plugin-deepexplain\[gcp\]'"),
    ],
)
def test_a_filesystem_without_its_package_is_named_as_it_was_written(
    location: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("adlfs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for use in (to_path, files.find, find_files, Store):
        with pytest.raises(ParameterError, match=f"^{message}$"):
            use([f"{location}/data"] if use is find_files else f"{location}/data")


def test_a_storage_without_credentials_is_named(
    silent: str, s3: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3(silent)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    advice = ".*Unable to locate credentials.*; check its name and your credentials"
    with pytest.raises(StoreError, match=f"s3://b/logs cannot be read{advice}"):
        Store("s3://b/logs")
    with pytest.raises(UnsupportedModelError, match=f"cannot read s3://b/model{advice}"):
        configuration.fingerprint("s3://b/model")
    for use in (files.exists, files.find, files.fingerprint):
        with pytest.raises(InputError, match=f"cannot list s3://b/x{advice}"):
            use("s3://b/x")


def test_hadoop_without_its_library_is_named() -> None:
    with pytest.raises(ParameterError, match="hdfs://h:1: Unable to load libhdfs; give a folder, gs:// or s3://"):
        to_path("hdfs://h:1/logs")


def test_an_error_without_a_message_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(upath, "UPath", fail)
    with pytest.raises(ParameterError, match="memory://x: RuntimeError; give a folder, gs:// or s3://"):
        to_path("memory://x/logs")


class _Namenode:
    """The package hdfs, and a client that waits, or raises an error."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    def InsecureClient(self, url: str, user: str) -> _Namenode:  # noqa: N802  as there
        return self

    def status(self, path: str, strict: bool = True) -> Any:
        return self._answer()

    list = status


@pytest.fixture
def namenode(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Namenode | None], None]:
    """Sets the package hdfs."""
    from apache_beam.io.hadoopfilesystem import HadoopFileSystem

    def set_package(package: _Namenode | None) -> None:
        monkeypatch.setattr("apache_beam.io.hadoopfilesystem.hdfs", package)

    monkeypatch.setattr(FileSystem, "get_all_subclasses", classmethod(lambda cls: [HadoopFileSystem]))
    beam_hdfs.configure(["--hdfs_host=h", "--hdfs_port=1", "--hdfs_user=u"])
    return set_package


def test_hdfs_without_its_package(namenode: Callable[[_Namenode | None], None]) -> None:
    namenode(None)
    for pattern in ("hdfs://in", "hdfs://in/*.csv"):
        with pytest.raises(
            InputError, match=r"^hdfs://: Failed to import hdfs.*; pip install 'apache-beam\[hadoop\]'$"
        ):
            find_files([pattern])


def test_a_namenode_that_says_nothing_is_given_up(namenode: Callable[[_Namenode | None], None]) -> None:
    namenode(_Namenode(lambda: threading.Event().wait(20)))
    with pytest.raises(
        ParameterError, match=r"hdfs:// \(the namenode at --hdfs_host and --hdfs_port\) has not answered"
    ):
        find_files(["hdfs://in"])


def test_an_error_of_the_namenode_is_an_input_error(namenode: Callable[[_Namenode | None], None]) -> None:
    def fail() -> None:
        raise RuntimeError("StandbyException")

    namenode(_Namenode(fail))
    with pytest.raises(InputError, match=r"cannot list hdfs://in.*: StandbyException; check its name, --hdfs_host and"):
        find_files(["hdfs://in"])
