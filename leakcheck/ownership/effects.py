"""What one instruction does to one path: the transfer function for a single resource.

    Effects(resource, ...).apply(instruction, state) → (states after, states when it raises)

Which module knows the instruction stands in the table below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.driver import Protocol
from leakcheck.ownership import calling, entering, movement
from leakcheck.ownership.acquire import advanced_operand
from leakcheck.ownership.obligation import Obligation, Outcome
from leakcheck.ownership.state import Hold, Status
from leakcheck.project.facts import ENTERING

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck.ownership.state import State

_HANDLERS: dict[type[g.Instruction], Callable[..., Outcome]] = {
    g.Move: movement.move,
    g.NullTest: movement.null_test,
    g.LoadAttribute: movement.load_attribute,
    g.LoadItem: movement.load_item,
    g.Iterate: movement.iterate,
    g.Build: movement.build,
    g.Forget: movement.forget,
    g.Define: movement.define,
    g.Point: movement.point,
    g.StoreAttribute: movement.store_attribute,
    g.StoreItem: movement.store_item,
    g.StoreGlobal: movement.store_global,
    g.Await: entering.await_,
    g.Enter: entering.enter,
    g.Exit: entering.exit_,
    g.Yield: entering.yield_,
    g.Call: calling.call_,
}


class Effects(Obligation):
    """The transfer function for one resource in one function."""

    def apply(self, instruction: g.Instruction, state: State) -> Outcome:
        """The states after the instruction, and those on its exception edges."""
        if state.untouched and _touches(instruction, state):
            state = replace(state, untouched=False)
        return _HANDLERS[type(instruction)](self, instruction, state)

    def taken(self, call: g.Call, protocol: Protocol, state: State) -> State:
        """The state after the acquiring call itself."""
        if self.takes_receiver and call.receiver is not None:
            self.bound_to = call.receiver
            held = {**calling.operands(call), call.receiver: Hold.OWN}
            opening = self.resource.methods.get(call.method or "")
            if call.method in ENTERING or (opening is not None and opening.gives_itself):
                held[call.target] = Hold.OWN  # the object itself, or what it keeps, by which it can be given back
            if protocol is Protocol.VALUE:
                return state.bind(held).with_status(Status.HELD)
            return state.bind({**held, call.target: Hold.PENDING}).with_status(Status.WAITING)
        if self.unopened:
            return state.bind({**calling.operands(call), call.target: Hold.OWN}).with_status(Status.WAITING)
        if self.advances:
            generator = advanced_operand(call)
            state = state.bind({} if generator.startswith("%") else {generator: Hold.MANAGER})
        value = self.fresh() if protocol is Protocol.VALUE else Hold.PENDING
        status = Status.HELD if protocol is Protocol.VALUE else Status.WAITING
        return state.bind({**calling.operands(call), call.target: value}).with_status(status)


def _touches(instruction: g.Instruction, state: State) -> bool:
    """Whether an instruction does anything with what a variable holds but test it, or bind it to another."""
    match instruction:
        case g.NullTest() | g.Move() | g.Forget():
            return False
        case g.Call(receiver=receiver, callee=callee, arguments=arguments):
            names = {receiver, callee, *(a.operand for a in arguments)}
        case g.Define(captured=captured):
            names = {*captured}
        case g.Build(items=items):
            names = {operand for _, operand in items}
        case _:
            fields = (getattr(instruction, name) for name in instruction.__struct_fields__)
            names = {value for value in fields if isinstance(value, str)}
    return any(name in names for name, _ in state.holders())
