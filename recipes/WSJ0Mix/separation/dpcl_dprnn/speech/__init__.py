"""Single voices: folders of speakers, active levels, the decoded store, and
the synthetic corpus.

May import `common` and `sound`.
"""
