"""Fixtures of these tests: an S3 server."""

from tests.s3_server import bucket, server  # noqa: F401  fixtures
