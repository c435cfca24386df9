"""The command `tb-deepexplain`.

`main.py`, the file to read first, chooses the sub-command. `explain.py` runs the pipeline and `evaluate.py` ranks
methods; `options.py` defines their options and help, `arguments.py` parses them. `report.py`, `dry_run.py` and
`tables.py` print. `demo/` explains three real models.
"""
