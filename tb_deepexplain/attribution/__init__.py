"""From arrays to attribution maps: a method runs on a Score, and an Explainer runs it on batches of examples.

Read `explainer.py` first; to write a method, `score.py`. In the order of a call:

    methods/               THE table of methods; one file per method
    explain.py             explain: an Explainer in one call, or several methods at once
    argument_order.py      the first arguments, also with the model first
    model_check.py         whether the graph computes what the model computes
    inputs.py              the caller's examples as arrays, checked against the model
    containers.py          datasets, generators, frames, records and pairs (x, y) → arrays by input, and labels
    array_likes.py         one array from a list, a tensor, a column of pandas, a sparse or masked array
    pictures.py            pictures of Pillow → an array
    padding.py             examples of unequal lengths → an array
    shape_advice.py        what to do about a shape that does not fit
    labels.py              the true classes, as people and Keras keep them
    baselines.py           baselines as people write them → values of the entry tensors
    targets.py             which unit of the output is explained
    examples.py            inputs with their targets, and batches of them at the entry tensors
    batch_sizes.py         how many evaluations and examples at once, for each method, shape of example and device
    batch_growth.py        the policy: what is measured while work is done, and what fits into memory
    device_memory.py       the device that computes, and what is free of its memory
    xla_trial.py           whether XLA is worth its compilation
    batching.py            examples → batches, and back
    compiled_method.py     a method as one TensorFlow function
    open_sizes.py          for which shapes it is compiled: for all sizes that the model takes, or one
    digest.py              a digest of parameters and examples: whether two calls compute the same
    score.py               Score: a method's interface to a model; `Score.baseline` is the default baseline
    completeness.py        the completeness gap inside a method
    precision.py           in which precision this thread computes, whatever the process has set
    precision_error.py     how far maps of another precision differ from float32
    results.py             predictions, maps, completeness gap and token sums
    diagnostics.py         why a map is all zero or not finite
"""
