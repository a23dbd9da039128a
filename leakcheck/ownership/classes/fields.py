"""Fields of records that take something of their own as each object is made.

    @dataclass
    class Store:
        conn: Connection = field(default_factory=connect)      Store()      →   takes one
                                                               Store(conn)  →   takes nothing

The factory runs for each object that is not given the field, as if its constructor called it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.classes.owners import is_no_argument
from leakcheck.ownership.conditional import Condition
from leakcheck.project.hierarchy import plain_base
from leakcheck.project.names import Class, Scope, original

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ClassFacts


class Fields:
    """Answers about project classes."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def construction(self, cls: Class) -> Acquisition | None:
        """What constructing the class makes whose field takes something: an object that a method can close."""
        for owner, facts, module in self._program.resolver.hierarchy.lineage(cls):
            if "__init__" in facts.methods:
                return None  # it decides which fields there are
            for attribute, taken in self.taken(owner):
                wrapped = self._program.functions.owners.closable(cls, attribute, taken.resource)
                if wrapped is not None:
                    given = self._given(cls, facts, Scope(module), attribute)
                    return Acquisition(wrapped, Protocol.VALUE, None, steps=taken.steps, condition=given)
        return None

    def taken(self, cls: Class) -> Iterator[tuple[str, Acquisition]]:
        """The fields in the body of a class for which a factory takes something, and what that is."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        if module is None or facts is None:
            return
        acquisitions, scope = self._program.acquisitions, Scope(module)
        for attribute, factory in facts.factories.items():
            if not acquisitions.possible(factory, scope) or not self._program.functions.owners.is_record(cls):
                continue
            taken = acquisitions.at(ex.Call(factory), scope, awaited=lambda: False)
            if taken is None or taken.protocol is not Protocol.VALUE or taken.position is not None:
                continue
            if taken.condition is None and not taken.unopened:  # a `lambda` may give it a connection that is there
                yield attribute, taken

    def _given(self, cls: Class, owner: ClassFacts, scope: Scope, attribute: str) -> Condition | None:
        """The argument by which a field of ``owner`` is given instead, where it can be given one."""
        if is_no_argument(owner, attribute, scope):
            return None
        lineage = [(each, Scope(module)) for _, each, module in self._program.resolver.hierarchy.lineage(cls)]
        arguments = (key for each, of in reversed(lineage) for key in each.keys if _is_argument(each, key, of))
        keys = list(dict.fromkeys(arguments))
        plain = any(original(decorator, scope) == "dataclass" for decorator in owner.decorators)
        keyword = attribute if plain else attribute.lstrip("_")
        return Condition(keys.index(attribute) if attribute in keys else None, keyword, absent=True)


def _is_argument(cls: ClassFacts, key: str, scope: Scope) -> bool:
    """Whether an annotated name of a record is an argument of its constructor."""
    of_class = original(plain_base(cls.annotations[key]), scope) == "ClassVar" if key in cls.annotations else False
    return not of_class and not is_no_argument(cls, key, scope)
