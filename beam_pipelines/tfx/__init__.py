"""A TFX component that explains a model."""
