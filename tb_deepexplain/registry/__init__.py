"""Tables whose rows are functions: a function's signature is its specification.

`table.py`, the file to read first, has the row of a table; `parameters.py` reads signatures; `formula.py` has costs
that depend on parameters. The tables are in `attribution/methods/` and `evaluation/measures/`.
"""
