"""Fixtures of these tests: an S3 server."""

from tests.s3_server import bucket, logs, server  # noqa: F401  fixtures
