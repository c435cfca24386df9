"""Work units, workers, devices, recovery and runners of the pipeline."""
