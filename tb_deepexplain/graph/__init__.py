"""A model as a TensorFlow graph: where it is entered and left, its regions, and the rules of its backward pass."""
