"""From examples to rows of a store, for pipelines and the training callback.

Read `request.py` and `example.py` first, then `batch_explainer.py`, which uses the others.

    request.py             what is explained and how
    example.py             one example: inputs, id, label
    model_loading.py       the model of a request, with the Keras classes that the user names
    model_memory.py        whether the model's weights fit onto the device
    modality.py            whether a model's examples are pictures, texts or tables
    example_condition.py   which examples are explained: `misclassified`, `label=3 and probability<0.5`, ...
    targets.py             `predicted`, `top:3`, ... → classes
    batch_explainer.py     a batch of examples in, rows out; halves a batch that does not fit into memory
    device_encoding.py     maps as the store keeps them, encoded where they are computed
    map_rows.py            results of an explainer → rows
    map_measures.py        measures of the maps, and of random maps
    full_batches.py        how many examples fill the batches of methods and measures
    display.py             examples as a person sees them
    work_metrics.py        counts and run times
    manifest.py            the contents of the manifest (`store/writer.py` writes the file)
"""
