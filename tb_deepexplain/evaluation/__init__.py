"""How far attribution maps can be trusted: measures, their chance levels, and methods ranked by them.

Read `evaluator.py` first: it runs the measures of the table in `measures/` on the maps of an Explainer.

    measures/              THE table of measures; one file per measure
    measured.py            what a measure returns
    maps_with_score.py     what a measure gets: maps and the score that they explain ...
    maps_with_method.py    ... or maps and the method, to explain noisy inputs
    perturbation.py        feature groups of an example and their removal
    tensor_statistics.py   areas, means and correlations in TensorFlow
    maps.py                maps and segments: checked, cut to their batch, or random

    method_comparison.py   dx.rank: explain and measure by every method
    ranking.py             Ranking: from measured values to an order and advice; no TensorFlow
    randomisation.py       sanity checks with random weights or labels
    localisation.py        maps against masks of the object
    superpixels.py         superpixels of pictures as feature groups
    figure.py              a figure of a store's curves
"""
