"""How fast and how accurate the methods are; results in docs/benchmarks.md."""
