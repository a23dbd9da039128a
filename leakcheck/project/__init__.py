"""The project on disk: which files there are, and what their names mean to each other."""
