"""Leaks planted into files that somebody else wrote: fixing them must not touch anything else.

Hosts are the files of Python's standard library. A function that leaks is put at the end, into a class, into another
function or under a condition, indented as the host is, with the host's line ends or others.
"""
