"""Attributions while a Keras model trains.

Read `callback.py` first. `training_examples.py` has the examples that it explains, `keras_model.py` the model in
training, `other_callbacks.py` the callbacks beside it. The store that it writes is in `store/training_store.py`.
"""
