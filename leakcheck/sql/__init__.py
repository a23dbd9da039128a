"""What a piece of SQL does to the connection it is sent over.

    events("BEGIN; SET LOCAL ROLE tenant")   →   BEGIN, SET_ROLE tenant (local)

Read in this order: ``event`` (the answer), ``tokens`` (from text to statements), ``statements`` (by their head word),
``assignments`` (SET and RESET), ``functions`` (calls with an effect), ``events`` (all of it).
"""
