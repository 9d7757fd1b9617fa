"""What separate.py and app.py are made of: recordings found and separated,
voices and pages written.

May import `common`, `sound`, `unmixing`, `inference` and the pictures of
`report`.
"""
