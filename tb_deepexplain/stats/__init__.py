"""Statistics that need only NumPy.

`intervals.py` has means with 95 % confidence intervals, `mean_ranks.py` mean ranks of methods with bootstrap intervals,
`rank_correlation.py` the agreement of two maps.
"""
