"""What a project function leaves open on a connection of its caller's: calling it says as much.

async def enter(conn):          →   says BEGIN to `conn`, and gives the transaction that ends it
transaction = conn.transaction()
await transaction.start()
return transaction
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g
from leakcheck.ownership.sessions.statements import Action
from leakcheck.ownership.state import Fact, Scope, Status
from leakcheck.ownership.steps import short
from leakcheck.sql.event import SqlEvent

if TYPE_CHECKING:
    from leakcheck.ownership.found import SessionFound


def leaves(found: SessionFound) -> bool:
    """Whether it is held on every way on which the function returns, or what it returns ends it."""
    returned = [e for e in found.exploration.endings if e.returned]
    held = all(e.state.status is Status.HELD or isinstance(e.state.get(g.RETURN), Scope) for e in returned)
    return len(found.connection.names) == 1 and bool(returned) and held


def action(found: SessionFound) -> tuple[str, Action]:
    """What calling the function says, with the name by which it knows the connection."""
    (name,) = found.connection.names
    text = found.held.text or short(found.unit, found.call.node)
    answers = {e.state.get(g.RETURN) for e in found.exploration.endings if e.returned}
    answer = answers.pop() if len(answers) == 1 else None
    gives, event = answer if isinstance(answer, Scope) else None, SqlEvent(found.held.by, found.held.name)
    return name, Action(event, text=text, answered=answer is Fact.TRUE, gives=gives)
