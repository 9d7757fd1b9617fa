"""What every room may use: sound files, folders, errors that speak to the
user, several processes.

May import nothing of ours.
"""
