"""Statements as the generator builds them, and the mutations that make realistic code wrong.

Input: simple statements (text) and compound ones (clauses with bodies). Output: lines of source, e.g.
``Compound([Clause("if conn:", ["pool.putconn(conn)"])])`` is

    if conn:
        pool.putconn(conn)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

Node: TypeAlias = "str | Compound"
Body: TypeAlias = "list[Node]"


@dataclass(slots=True)
class Clause:
    """A header that ends in a colon, and what it governs."""

    header: str
    body: Body


@dataclass(slots=True)
class Compound:
    """A compound statement: ``if``/``else``, ``try``/``except``/``finally``, a loop, a ``with``, a ``match``."""

    clauses: list[Clause]


def compound(*clauses: tuple[str, Body]) -> Compound:
    """The statement of these headers and bodies."""
    return Compound([Clause(header, body) for header, body in clauses])


def match_statement(subject: str, cases: list[tuple[str, Body]]) -> Compound:
    """A ``match`` over ``subject``."""
    return compound((f"match {subject}:", [compound((f"case {pattern}:", body)) for pattern, body in cases]))


def render(body: Body, indent: int = 0) -> list[str]:
    """The lines of ``body``; an empty one becomes ``pass``."""
    margin = "    " * indent
    lines = []
    for node in body or ["pass"]:
        if isinstance(node, str):
            lines.append(margin + node)
        else:
            for clause in node.clauses:
                lines.append(margin + clause.header)
                lines.extend(render(clause.body, indent + 1))
    return lines


def bodies(body: Body) -> Iterator[Body]:
    """``body`` and all bodies in it, outermost first."""
    yield body
    for node in body:
        if isinstance(node, Compound):
            for clause in node.clauses:
                yield from bodies(clause.body)


HANDLERS = ("except ValueError:", "except Exception:", "except (ValueError, KeyError):", "except Other:", "except:")


class Mutator:
    """Makes one small change to a function's body; the result may be invalid Python."""

    def __init__(self, random: Random, names: list[str], insertions: list[str]) -> None:
        """Mutate with the variables ``names`` and the statements ``insertions`` at hand."""
        self._random = random
        self._names = names
        self._insertions = insertions

    def mutate(self, body: Body) -> None:
        """Change ``body`` in place."""
        kind = self._random.choices(
            (
                self._delete,
                self._swap,
                self._insert,
                self._move,
                self._unwrap,
                self._drop_clause,
                self._retype,
                self._rename,
            ),
            (4, 2, 5, 3, 1, 2, 3, 1),
        )[0]
        kind(body)

    def _any_body(self, body: Body, minimum: int) -> Body | None:
        candidates = [candidate for candidate in bodies(body) if len(candidate) >= minimum]
        return self._random.choice(candidates) if candidates else None

    def _delete(self, body: Body) -> None:
        target = self._any_body(body, 1)
        if target is not None:
            del target[self._random.randrange(len(target))]

    def _swap(self, body: Body) -> None:
        target = self._any_body(body, 2)
        if target is not None:
            index = self._random.randrange(len(target) - 1)
            target[index], target[index + 1] = target[index + 1], target[index]

    def _insert(self, body: Body) -> None:
        target = self._any_body(body, 0)
        if target is not None:
            target.insert(self._random.randrange(len(target) + 1), self._random.choice(self._insertions))

    def _move(self, body: Body) -> None:
        source, target = self._any_body(body, 1), self._any_body(body, 0)
        if source is None or target is None:
            return
        index = self._random.randrange(len(source))
        node = source[index]
        if isinstance(node, Compound) and any(inner is target for inner in bodies([node])):
            return
        del source[index]
        target.insert(self._random.randrange(len(target) + 1), node)

    def _unwrap(self, body: Body) -> None:
        """Replace a compound statement by the body of its first clause."""
        target = self._any_body(body, 1)
        if target is None:
            return
        index = self._random.randrange(len(target))
        node = target[index]
        if isinstance(node, Compound) and not node.clauses[0].header.startswith(("def ", "async def ", "match ")):
            target[index : index + 1] = node.clauses[0].body

    def _compounds(self, body: Body) -> list[Compound]:
        return [node for inner in bodies(body) for node in inner if isinstance(node, Compound)]

    def _drop_clause(self, body: Body) -> None:
        """Remove an ``else``, ``except`` or ``finally``."""
        candidates = [node for node in self._compounds(body) if len(node.clauses) > 1]
        if candidates:
            node = self._random.choice(candidates)
            del node.clauses[self._random.randrange(1, len(node.clauses))]

    def _retype(self, body: Body) -> None:
        """Let a handler catch something else."""
        handlers = [
            clause for node in self._compounds(body) for clause in node.clauses if clause.header.startswith("except")
        ]
        if handlers:
            self._random.choice(handlers).header = self._random.choice(HANDLERS)

    def _rename(self, body: Body) -> None:
        """Confuse two variables in one statement."""
        target = self._any_body(body, 1)
        if target is None or len(self._names) < 2:
            return
        index = self._random.randrange(len(target))
        node = target[index]
        if isinstance(node, str):
            first, second = self._random.sample(self._names, 2)
            target[index] = re.sub(rf"\b{first}\b", second, node)
