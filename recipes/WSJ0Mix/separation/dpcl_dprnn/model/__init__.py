"""The science: encoders, the dual path, the networks, the separator, its
targets, losses and clustering.

May import `common`.
"""
