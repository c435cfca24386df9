"""Attributions while a Keras model trains."""
