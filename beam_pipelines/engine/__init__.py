"""From examples to shards: workers, devices, recovery and runners.

Read `unit_worker.py` first, which explains one work unit, then `recovery.py`. In the order of a run:

  before the run
    beam_flags.py          checks Beam's flags
    runners.py             chooses the Beam runner; local_workers.py counts processes and threads of a local run
    resource_hints.py      --accelerator and --min_ram
    native_logs.py         keeps TensorFlow's and Beam's log lines off the terminal
    plan_status.py         which work units have a shard already: what --resume leaves out
    store_lock.py          keeps two runs from writing one store
    trial.py               loads the model and explains one example
  in a worker
    worker_main.py         the main program of a local worker process
    devices.py             acquires GPUs and bounds their memory; device_pool.py holds a model for each device
    gpu_leases.py          which process may use which GPU; gpu_driver.py asks NVIDIA's driver
    explain_unit.py        the Beam step: a task in, a shard written
    unit_worker.py         explains a unit; batch_size.py: how many examples at once
    progress_folder.py     reports to the driver; beam_counters.py reports to the runner
  in the driver
    recovery.py            runs the pipeline, and again over unfinished units
    pipeline_attempt.py    one run of the pipeline, watched: dead or stalled workers, progress, Ctrl-C
    worker_processes.py    which local worker processes have died
    suspects.py            which units and examples kill workers
    run_limits.py          the error rate and the stall that end a run
    progress_display.py    the progress bar
    commit.py              shards → a store
"""
