"""The command `tb-deepexplain`.

Read `main.py` first; it chooses the sub-command. Then `explain.py`, which has a run from plan to commit.

    main.py                demo, explain, evaluate, methods, measures
    options.py             the options of explain and evaluate, and their help
    arguments.py           the command line → checked Arguments
    input_plan.py          where a run writes and what it reads
    request.py             arguments → a Request: methods and measures with parameters
    background.py          --baseline_examples: the examples whose statistics are the baseline
    run_configuration.py   what --resume compares, and the command's entries in the manifest
    explain.py             runs the pipeline: what --resume skips is decided in `run` and `engine/plan_status.py`
    dry_run.py             --dry_run: an estimate from a sample
    evaluate.py            ranks the methods on a sample
    report.py              what a run prints when it ends
    exit_status.py         exit statuses, and errors in one line
    tables.py              methods and measures in a terminal
    reference_pages.py     docs/methods.md and docs/measures.md
    demo/                  explains three real models
"""
