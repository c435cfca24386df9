"""Statistics that need only NumPy: rank correlation of maps, means with confidence intervals, mean ranks."""
