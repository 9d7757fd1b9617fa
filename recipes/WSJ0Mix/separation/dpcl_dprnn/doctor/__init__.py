"""What is wrong with data, before a training finds out.

May import `common`, `speech`, `mixtures` and `datasets`.
"""
