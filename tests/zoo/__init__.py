"""Models that people hold × every method: each map is right, or refused for a true reason. `make test-zoo` runs it.

`member.py` says what a row is. The tables have one row a model: `keras_layers.py`, `keras_preprocessing.py`,
`keras_applications.py`, `keras_hub_models.py`, `hugging_face_models.py`, `tensorflow_1_models.py`; the test modules run one
table each. `checks.py` has one row a method, with its literal computation in `literal_maps.py` and `literal_rules.py`;
`as_called.py` is the model as its owner calls it. `page.py` writes docs/zoo.md, and `test_page.py` compares.
"""
