"""Estimates to voices: gains, grouping, counting, windows.

May import `common`, `sound` and `model`.
"""
