"""Binding: what ``=``, ``:=``, ``for``, ``with … as`` and ``del`` do to names, attributes and items.

    conn, self.cur = opened()    →   %unpacked2 = %1; %3 = %unpacked2[0]; conn = %3; …; self.cur = %4

Values are read before anything is bound.
"""

from __future__ import annotations

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.emitter import Emitter
from leakcheck.cfg.graph import ANY_EXCEPTION, Forget, LoadItem, Move, Point, StoreAttribute, StoreGlobal, StoreItem
from leakcheck.cfg.walk import is_pure, reduce


class AssignmentLowering(Emitter):
    """Binds operands to assignment targets."""

    def assign_name(self, node: cst.CSTNode, name: str, operand: str) -> None:
        """Bind a name, here or where ``global`` says."""
        name = self.renamed.get(name, name)
        if name in self.global_names:
            self.emit(StoreGlobal(node, name, operand))
        else:
            self.emit(Move(node, name, operand))

    def assign(self, target: cst.BaseExpression, operand: str) -> None:
        """Bind ``operand``, which is read once, to an assignment target."""
        match target:
            case cst.Name(value=name):
                self.assign_name(target, name, operand)
            case cst.Attribute(value=base, attr=attr):
                self.emit(StoreAttribute(target, self.value(base), attr.value, operand, ex.dotted(reduce(base))))
            case cst.Subscript(value=base, slice=elements):
                owner = self.value(base)
                for element in elements:
                    if isinstance(element.slice, cst.Index):
                        self.use(element.slice.value)
                self.emit(StoreItem(target, owner, operand), ANY_EXCEPTION)
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                whole = self.internal("unpacked")
                self.emit(Move(target, whole, operand))
                for index, part in enumerate(elements):
                    key = None if isinstance(part, cst.StarredElement) else index
                    item = self.temporary()
                    self.emit(LoadItem(target, item, whole, key))
                    self.assign(part.value, item)
                self.emit(Forget(target, (whole,)))
            case cst.StarredElement(value=inner):
                self.assign(inner, operand)
            case _:
                self.drop(operand, target)

    # Statements that bind

    def assign_statement(self, node: cst.Assign) -> None:
        """``a = b = value``, ``a, b = value``."""
        targets = [t.target for t in node.targets]
        method = _method(node.value)
        match targets:
            case [cst.Name(value=name)] if method is not None and is_pure(reduce(method)):
                self.methods[name] = method
        if len(targets) == 1:
            if self._pairwise(targets[0], node.value):
                return
            operand = self.value(node.value)
            if isinstance(targets[0], (cst.Tuple, cst.List)) and isinstance(node.value, (cst.Call, cst.Await)):
                self.emit(Point(node, "unpacking may raise", operand), ANY_EXCEPTION)
            self.assign(targets[0], operand)
            return
        shared = self.internal("assigned")
        self.emit(Move(node, shared, self.value(node.value)))
        for target in targets:
            self.assign(target, shared)
        self.emit(Forget(node, (shared,)))

    def _pairwise(self, target: cst.BaseExpression, value: cst.BaseExpression) -> bool:
        """``a, b = x, y``: each value to its target, all values read first."""
        displays = (cst.Tuple, cst.List)
        if not (isinstance(target, displays) and isinstance(value, displays)):
            return False
        left, right = target.elements, value.elements
        if len(left) != len(right) or any(isinstance(e, cst.StarredElement) for e in (*left, *right)):
            return False
        operands = []
        for element in right:
            operand, kept = self.value(element.value), self.temporary()
            self.emit(Move(element.value, kept, operand))
            operands.append(kept)
        for element, operand in zip(left, operands, strict=True):
            self.assign(element.value, operand)
        return True

    def annotated_assignment(self, node: cst.AnnAssign) -> None:
        """``a: int = value``; without a value nothing is bound."""
        if node.value is not None:
            self.assign(node.target, self.value(node.value))

    def augmented_assignment(self, node: cst.AugAssign) -> None:
        """``a += value``: ``a`` may keep the value, as a list does."""
        operand = self.value(node.value)
        if isinstance(node.target, cst.Name):
            self.emit(StoreItem(node, node.target.value, operand))
        else:
            self.use(node.target)
            self.assign(node.target, operand)

    def delete(self, node: cst.Del) -> None:
        """``del a, b.c``."""
        targets = node.target.elements if isinstance(node.target, (cst.Tuple, cst.List)) else [node.target]
        for element in targets:
            target = element.value if isinstance(element, cst.BaseElement) else element
            if isinstance(target, cst.Name):
                self.emit(Forget(node, (target.value,)))
            else:
                self.use(target)


def _method(node: cst.BaseExpression) -> cst.Attribute | None:
    """The attribute that is read: ``conn.close``, ``getattr(conn, "close", None)``."""
    if isinstance(node, cst.Call) and node.args:
        attribute = reduce(node)
        if isinstance(attribute, ex.Attribute):
            return cst.Attribute(node.args[0].value, cst.Name(attribute.name))
    return node if isinstance(node, cst.Attribute) else None
