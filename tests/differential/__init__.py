"""Analysis against execution: random programs, run along every path, compared with what the analysis says.

A program is a handful of small functions that check out and release connections of fake drivers. The
generator writes it, the executor runs it along every path and learns the truth about each checkout line,
the adapter asks the analysis about the same text, and the comparison counts the disagreements.

Run ``python -m tests.differential --help`` for the long form; ``test_differential.py`` is a seeded share.
"""
