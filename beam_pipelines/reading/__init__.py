"""From input files to examples.

Start with `work_unit.py`, which has the data, then follow one input: `input_files` (patterns → files and their formats),
`plan` (files → work units), `read_records` (a work unit → records), `example_parser` (a record → an Example). How records
are read is one `RecordSpec` (`record_spec.py`). `formats/` has one file for each file format.
"""
