"""What leakcheck says about transactions and session state, against what a PostgreSQL server says.

A program is one function that takes a connection from a pool, speaks to the server and gives it back, with branches,
errors and handlers in between. It is run along every path on a real server, and whoever takes the connection next
asks the server what was left on it: that is the truth for each line that opened or set something.

Run ``python -m tests.sessions --help`` for the long form; ``test_sessions.py`` is a seeded share.
"""
