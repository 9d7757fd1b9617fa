"""What every room may use: folders, errors that speak to the user, several
processes.

May import nothing of ours.
"""
