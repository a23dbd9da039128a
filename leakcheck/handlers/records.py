"""Records whose field a factory opens for each object, and nothing closes: LC109 without a function to analyse.

    @dataclass
    class Store:
        conn: Connection = field(default_factory=connect)      →   LC109, where nobody calls `….conn.close()`

Where a method of the class closes it, whoever makes the object must call that: see ``ownership.fields``.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.handlers.search import Search
from leakcheck.ownership.classes.fields import Fields
from leakcheck.ownership.classes.lasting import lasts
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.project.facts import FACTORIES
from leakcheck.project.names import Class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.program import Program


class Records:
    """Finds them, one file at a time."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._search = Search(program)

    def of(self, path: str) -> Iterator[Leak]:
        """The fields of the classes of a file that nobody closes."""
        facts = self._program.facts(path)
        fields = Fields(self._program)
        for qualname in facts.classes if facts is not None else ():
            cls = Class(path, qualname)
            for attribute, taken in fields.taken(cls):
                if not self._is_closed(cls, attribute, taken.resource):
                    yield from self._leak(cls, attribute, taken)

    def _is_closed(self, cls: Class, attribute: str, resource: DriverClass) -> bool:
        """Whether somebody may close what the field holds, or all objects last."""
        owners = self._program.functions.owners
        if owners.releases(cls, attribute, resource) or owners.takes_back(cls, resource):
            return True
        if owners.released_elsewhere(cls, attribute, resource) or self._is_handed_on(cls, attribute):
            return True
        return lasts(self._program, cls)

    def _is_handed_on(self, cls: Class, attribute: str) -> bool:
        """Whether a file that knows the class does more with such an attribute of an object than call what it has."""
        name = re.escape(attribute)
        in_class = rf"(?<!\bself)(?<!\bcls)\.{name}\b(?!\s*=[^=])(?:\s*\.\s*(\w+))?"
        anywhere = rf"\.{name}\b(?:\s*\.\s*(\w+))?"
        for path in self._program.modules.around(cls.path):
            data = self._program.data(path)
            if path != cls.path and cls.qualname.rpartition(".")[2].encode() not in data:
                continue
            reading = in_class if path == cls.path else anywhere
            called = re.findall(reading, data.decode(errors="replace"))
            if any(not method or self._program.calls.says_release(method) for method in called):
                return True
        return False

    def _leak(self, cls: Class, attribute: str, taken: Acquisition) -> Iterator[Leak]:
        tree = self._search.tree(cls.path)
        factory = _factory(tree, cls, attribute) if tree is not None else None
        if tree is None or factory is None:
            return
        name, resource = f"self.{attribute}", taken.resource
        message = f"{resource.noun} taken here for each object that is made"
        yield Leak(
            kind=LeakKind.OWNER_NEVER_RELEASES,
            severity=Severity.ERROR,
            span=tree.span(factory),
            statement=tree.statement(factory),
            steps=(*taken.steps, Step(StepKind.ACQUIRE, cls.path, tree.span(factory), message)),
            acquire=tree.text(factory),
            release=resource.release.format(name=name, pool=taken.pool or "pool"),
            name=name,
            cause="",
            reason="",
            noun=resource.noun,
            resource=resource.id,
        )


def _factory(tree: Tree, cls: Class, attribute: str) -> ast.expr | None:
    """What makes the value of a field, in the body of the class."""
    for node in tree.classes():
        outer = [n.name for n, _ in tree.around(node) if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
        if ".".join((*reversed(outer), node.name)) != cls.qualname:
            continue
        for statement in node.body:
            match statement:
                case (
                    ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(keywords=keywords))
                    | ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(keywords=keywords))
                ) if name == attribute:
                    return next((k.value for k in keywords if k.arg in FACTORIES), None)
                case _:
                    pass
    return None
