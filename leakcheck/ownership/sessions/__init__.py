"""What is held on a connection: transactions, roles, settings, locks, subscriptions. Read in this order.

``session`` (what may be held, and what a path knows of it), ``putting_back`` (statements that set a setting back),
``statements`` (what a call says to the server), ``answers`` (what the server says to one that only tries),
``following`` (the transfer function for what is held), ``transaction`` and ``ending`` (how statements change and end
it), ``connections`` (which connections a function has), ``autocommit`` (whether one is in autocommit), ``lent`` (what
context managers of the project lend to a block), ``callees`` (what project functions do to what is held), ``left_open``
(what they leave to their callers), ``executing`` and ``handed`` (statements that others are asked to send), ``turns``
(loops that end what another took), ``noted`` (what an object knows of them), ``pool_statements``, ``blocks`` and
``slow`` (statements through a pool, transactions that nobody names, and what waits for something else), ``analysis``
(all of one function), ``swallowed`` (whether a handler takes what the server refuses), ``report`` (which paths are
faults), ``exits`` (classes whose exit method ends what they begin after some blocks only), ``borrowed`` and
``borrowers`` (what is set on a connection that is lent, and committed by those who borrow it; who they are), ``kept``
(what an object sets on a connection that it keeps and gives back later), ``cleared`` (what a pool is told to clear),
``remedy`` (what would end it), ``told`` (all of these for one function).
"""
