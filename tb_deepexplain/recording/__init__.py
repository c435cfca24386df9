"""From examples to rows of a store, for pipelines and the training callback."""
