"""From input files to examples.

Read `work_unit.py` first, which has the data, then follow one input through the files:

    files.py               patterns, reading and fingerprints, local or remote; beam_hdfs.py for hdfs://
    input_files.py         --input → files and their formats
    format_interface.py    what a format defines
    formats/               THE table of file formats; one file per format
    plan.py                files → work units; record_ranges.py groups records, text_lines.py finds lines
    selection.py           a plan's first records, or a random sample
    work_unit.py           a work unit, and the plan that lists them
    read_records.py        a work unit → records
    record_spec.py         how a record is read: features, label, id, slice features, class names, schema
    example_parser.py      a record → an Example, with the files below
    tf_example.py          serialized tf.Examples
    feature_values.py      values of features → arrays
    json_text.py           JSON texts → values, or why not
    label_values.py        labels → class numbers, one or several
    slice_values.py        values of slice features → text
    named_features.py      whether any record has the features that the caller names
    picture_decoding.py    encoded pictures → arrays
    baseline_examples.py   examples whose statistics stand for missing features
    preprocess.py          the function of --preprocess
    class_names.py         class names of the input and of --labels
    tfmd_schema.py         schemas of tensorflow_metadata
"""
