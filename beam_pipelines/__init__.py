"""From files of examples to an attribution store, on Apache Beam. All code that imports Beam is here.

`cli/main.py`, the file to read first, is the command `tb-deepexplain`; `cli/explain.py` runs the pipeline. `reading/`
parses examples, `engine/` explains them in work units, and `transforms/` is for other pipelines. `tfx/` and `tfma/`
connect to TFX and TensorFlow Model Analysis, and `container/` has the image for Dataflow. `attribute.py` is
`tb-deepexplain explain` under the name `python -m beam_pipelines.attribute`.
"""
