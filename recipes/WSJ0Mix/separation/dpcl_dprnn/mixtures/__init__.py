"""Voices to mixtures: the mixing rule, lists and names, WSJ0, sets that are
written to disk, and mixtures on the fly.

May import `common`, `sound` and `speech`.
"""
