"""The page of an evaluation.

May import `common`, `sound` and `evaluation`.
"""
