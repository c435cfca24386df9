"""From examples to shards: workers, devices, recovery and runners.

Start with `unit_worker.py`, which explains one work unit and writes its shard. `recovery.py` reruns what is unfinished after
a worker died; a worker's death is noticed in `worker_processes.py` and `pipeline_attempt.py`. `devices.py` leases GPUs,
`runners.py` chooses the Beam runner, `store_lock.py` keeps two runs from writing one store.
"""
