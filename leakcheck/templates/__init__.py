"""``with_transaction`` for each driver: what ``leakcheck init`` writes into a project, word for word.

Each module stands alone and is never imported by leakcheck; the tests run them against servers.
"""
