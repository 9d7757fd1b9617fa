"""Estimates to voices: gains, grouping, counting, windows.

May import `common` and `model`.
"""
