"""Project classes whose objects keep a resource, as far as whoever uses one must know. Read in this order.

``owners`` (what a class keeps, and which of its methods give it back), ``described`` (such a class as a driver's file
would describe it), ``making`` (what making an object takes), ``fields`` (of records, which a factory opens),
``openings`` and ``at_once`` (what a method opens later, or while the object is made), ``reopening`` (methods that leave
it open again), ``within`` and ``entry`` (what is open only while a method runs, or while a block is entered),
``lasting`` and ``ending`` (objects that last as long as the process, or end by what others do), ``teardown`` (who ends
what is kept for one request).
"""
