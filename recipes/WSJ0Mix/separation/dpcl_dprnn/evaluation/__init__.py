"""Scores of a test set, its speakers, and examples to look at.

May import `common`, `sound`, `model` and `unmixing`.
"""
