"""How a model is trained: options, engine, checkpoints, resuming.

May import `common`.
"""
