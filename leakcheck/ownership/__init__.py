"""The ownership analysis: from control-flow graphs to leaks and function summaries.

Read in this order: ``state`` (what is known on one path), ``acquire`` (which calls take something),
``effects`` (what one instruction does), ``explore`` (all paths from one acquire), ``report`` (which paths
are faults, and their steps), ``summary`` (what callers may assume), ``program`` (all of it, on demand).
"""
