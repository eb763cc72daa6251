"""Weights of the model: fetch them, verify them, make the FP8 file.

`manifest` says which files there are, `fetch` and `verify` (standard library only) bring and check
them, `convert` (numpy, ml_dtypes) makes the FP8 file from the published 16-bit one.
"""

__version__ = "1.0.0"
