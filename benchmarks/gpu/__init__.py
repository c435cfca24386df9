"""Exactness, throughput and sharing on a GPU: what no CPU can show. docs/benchmarks.md says how to run it.

    python -m benchmarks.gpu [PART ...] [--seconds N] [--json FILE]

`__main__.py` runs the parts and prints each figure at once, with the name of the card: `exactness.py` (golden cases, and maps
of the GPU against the CPU, in each precision), `throughput.py` (every method against the floor, on the nets of `models.py`), and
`runs.py` (the pipeline, two processes on one card, a nearly full card, which `hold_memory.py` fills). `workers.py` runs a
part's work in processes of its own. Without a GPU all of it runs on the CPU, as a test does.
"""
