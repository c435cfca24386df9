"""Containers: `Dockerfile` builds the workers' image and the flex template, whose entry point is `template.py`."""
