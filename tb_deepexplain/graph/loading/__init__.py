"""Keras models, SavedModels, frozen graphs and functions become a ModelGraph."""
