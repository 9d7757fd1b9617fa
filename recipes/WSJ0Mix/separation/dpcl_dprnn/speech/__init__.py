"""Single voices: folders of speakers, SPHERE files, active levels, the
decoded store, and the synthetic corpus.

May import `common`.
"""
