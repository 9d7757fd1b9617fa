"""The page of an evaluation.

May import `common` and `evaluation`.
"""
