"""Statistics that need NumPy alone."""
