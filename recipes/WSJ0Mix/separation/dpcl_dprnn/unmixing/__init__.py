"""Estimates to voices: gains, grouping, counting, what to
expect of them, windows.

May import `common`, `sound` and `model`.
"""
