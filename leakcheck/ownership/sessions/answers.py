"""What the server answers to a statement that only tries: ``pg_try_advisory_lock`` says whether it took the lock.

cur.execute("SELECT pg_try_advisory_lock(1)")
if cur.fetchone()[0]:    →   a branch on the answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.ownership.state import Fact, Hold

if TYPE_CHECKING:
    from leakcheck.cfg import graph as g
    from leakcheck.ownership.sessions.following import Following
    from leakcheck.ownership.state import State

_FETCHING = frozenset({
    "fetchone", "fetchall", "fetchmany", "fetchval", "fetchrow", "fetch", "first", "one", "one_or_none", "all",
    "scalar", "scalar_one", "scalar_one_or_none", "scalars", "mappings",
})  # fmt: skip
"""What gives the rows of a statement."""
_NOT_READING = frozenset({"execute", "executemany", "close", "cursor"})
_TAKING_OUT = _FETCHING | {"get"}
"""What gives a part of an answer that is in hand: a row that is a dictionary has ``get``."""
_SAME = ("bool", "int", "any", "all")
"""Functions whose result is true where what they are given says that it was taken."""


def gives_answer(following: Following, call: g.Call, state: State) -> bool:
    """Whether a call gives what the server said to the statement that tried: ``cur.fetchone()``."""
    given = (call.receiver, *(a.operand for a in call.arguments))
    of_answer = any(state.get(o) is Fact.ANSWER for o in given if o is not None)
    reads = not state.session.worked and any(state.get(o) is Hold.DERIVED for o in given if o is not None)
    following.answered = following.answered or of_answer or (reads and call.method not in _NOT_READING)
    if reads:
        return call.method in _FETCHING
    return of_answer and (call.method in _TAKING_OUT or ex.dotted(call.func) in _SAME)
