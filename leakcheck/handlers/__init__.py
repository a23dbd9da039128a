"""What runs how often, and the pools that are built there: the findings LC201 to LC206.

Flow-insensitive on purpose: whether a pool is built again for each request is a question of who calls whom, and of
where the pool is kept, not of the order of statements. Read in this order.

One file: ``syntax`` (its tree, with parents and positions), ``places`` (where something can be kept, and how long that
lasts), ``holders`` (where a value goes inside its function), ``arguments`` (which parameters a call gives values for),
``fate`` (what becomes of a value: kept, closed, or neither), ``constructions`` (which calls build a pool).

The project: ``search`` (who mentions a function, bytes first), ``roles`` (how often a function runs, by what frameworks
say of it), ``spared`` (which callers give a pool, so that none is built), ``chains`` (from a construction up to the
handler that reaches it).

Results: ``waiting`` (what a constructor's arguments say), ``faults`` (the findings of one file), ``records`` (what
the objects of a class open and nobody closes), ``analysis`` (these and the leaks, as the engine asks for them).
"""
