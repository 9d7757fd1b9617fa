"""Mixtures to batches: layouts of folders, manifests, data sets,
augmentation, batches.

May import `common`, `sound` and `mixtures`.
"""
