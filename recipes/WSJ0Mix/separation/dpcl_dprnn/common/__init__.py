"""What every room may use, and nothing of ours that it uses itself.

Sound files, folders, errors that speak to the user, several processes.
"""
