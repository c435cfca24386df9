"""Attributions while a Keras model trains. Read `callback.py` first; the store it writes is `store/training_store.py`."""
