"""Keras models, SavedModels, frozen graphs and functions become a ModelGraph.

load_model.py (start here) decides by type and path; the other files load one sort of model each:
saved_models.py, frozen_graphs.py, keras_models.py (objects), keras_files.py (.keras, .h5), functions.py.
example_signatures.py handles signatures of a SavedModel that take serialized tf.Examples, transform_graphs.py those of
transformed features behind the graph of TFX's Transform.
"""
