"""Tables whose rows are functions: a function's signature is its specification."""
