"""The ownership analysis: from control-flow graphs to leaks and function summaries.

Read in this order.

One resource on one path: ``state`` (what is known), ``obligation`` (the resource, and what may become of it),
``movement``, ``entering`` and ``calling`` (what each instruction does to it), ``effects`` (all of these as one
transfer function).

All paths: ``constants`` (what is known before any resource is), ``reach`` (what still matters ahead), ``explore``
(from an acquire to every ending).

Functions: ``unit`` and ``units`` (a function as syntax, graph and positions), ``acquire`` (which calls take
something), ``binding`` (what it is made on), ``conditional`` (only where they are given none), ``usage`` (what
becomes of the values of calls), ``callees`` (what calls do, as the transfer function asks), ``arguments`` (what
parameters hold when a call starts), ``given`` (what functions do with arguments), ``raising`` (which cannot raise),
``swallowing`` (what context managers swallow), ``wrapping`` (objects that are made of a connection), ``by_hand``
(managers that are entered without a ``with``), ``managed`` (and functions that return one), ``pools`` (whether two are
the same), ``connecting`` (when a session takes its connection), ``nested_blocks`` and ``second_checkouts`` (a second
one while the first is held), ``consumers`` (loops that leave a generator that lends one), ``correlated`` (what was
asked before, and is asked again), ``callers`` and ``owed`` (what a function's callers see to, and what they owe).

Rooms of their own: ``classes`` (objects that keep a resource), ``stand_ins`` (what tests replace), ``sessions`` (what
is held on a connection: its transaction, role, settings, locks).

Results: ``found`` (one acquire and its endings), ``steps`` (a path in words), ``report`` (which paths are faults),
``leak`` (a fault, as rules see it), ``summary`` (what callers may assume), ``summary_data`` (the same for JSON),
``functions`` (function by function), ``program`` (all of it, on demand), ``debug`` (all of it, as text).
"""
