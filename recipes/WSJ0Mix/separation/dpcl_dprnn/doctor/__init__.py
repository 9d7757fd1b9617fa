"""What is wrong with data, before a training finds out.

May import `common`, `sound`, `speech`, `mixtures` and `datasets`.
"""
