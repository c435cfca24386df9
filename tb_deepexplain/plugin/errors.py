"""Requests that the plugin refuses; routes.py turns each into a status and one sentence."""

from __future__ import annotations


class BadRequest(ValueError):
    """A malformed request (400); the message names the parameter and what it expects."""


class NotFound(LookupError):
    """A run, store, example or map that does not exist (404); the message names it."""
