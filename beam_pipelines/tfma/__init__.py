"""Attributions as TFMA extracts and metrics."""
