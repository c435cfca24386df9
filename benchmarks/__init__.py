"""Benchmarks; docs/benchmarks.md has their results. Each file is a program: `python -m benchmarks.methods --help`.

`methods.py`, the file to read first, measures the time of each method against the floor (`floor.py`). `accuracy.py` and
`shapley.py` measure errors, `iclr2018.py` checks the claims of the paper, `pipeline.py` and `page.py` measure the
pipeline and the page, `host.py` what the host takes beside the model, `gpu/` a GPU (`python -m benchmarks.gpu`), `fill.py` how full
batches are, `first_map.py` the time of tracing and
compiling. `nets.py` has the models, `data.py` their examples, and `plot.py` draws.
"""
