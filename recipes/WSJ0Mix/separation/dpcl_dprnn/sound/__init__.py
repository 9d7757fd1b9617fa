"""Sound files of every kind: opened, read, written, resampled, and freed of
what nobody hears.

May import `common`.
"""
