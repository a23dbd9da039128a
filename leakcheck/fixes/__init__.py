"""Fixes: a leak and the syntax around it in, a rewrite or the reason for having none out.

Read in this order.

``tree`` (a function's syntax, with parents), ``roles`` (what each mention of a variable does with it), ``captured``
(what functions inside of it do with a variable), ``checkout`` (the statement that takes it), ``places`` (where a
rewrite may begin), ``region`` (the statements from the checkout to the last use), ``around`` and ``guards`` (what the
variable holds where the checkout was not reached), ``prune`` (those statements without the releases that the rewrite
supersedes) and ``remarks`` (the comments on these), ``conditions`` (what speaks against a rewrite, or for leaving it
to a reader), ``transaction`` (the proof that one commit is reached on every way), ``release`` and ``enclose`` (the
shapes: ``finally`` and ``with``), ``handed`` (what is returned), ``owned`` (what is taken only where the caller gives
none), ``imports``, ``importing``, ``by_itself`` and ``project_transaction`` (what a shape needs from elsewhere),
``mocked`` (whether tests would tell the difference), ``shared`` (whether it may be others' connection, too),
``entered`` and ``naming`` (checkouts that are bound to no name by a statement of their own), ``splice`` (two trees to
edits).

What is held on a connection has its own: ``speech`` (what calls say to the server), ``stretch`` (the statements from
the one that takes it), ``doubts`` (who may tell the difference), ``covering`` (which transactions cover it), ``ended``
(for transactions), ``restored`` (for roles, settings and locks). ``hoist`` builds a pool once, for the module or, by
``started``, with the application. ``offer`` is all of these; ``judge`` is the gate that every fix passes.

``apply`` turns edits into text; it knows no syntax. A rewrite is *safe* only where the program means the same
afterwards, except that the connection that leaked goes back and its open transaction is rolled back.
"""
