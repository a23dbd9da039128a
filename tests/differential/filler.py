"""What stands between a checkout and its release: work, queries, branches, loops, handlers.

Input: a random source, a dialect and the connections in reach. Output: statements, each of which may or may not raise.
"""

from __future__ import annotations

from random import Random

from .dialect import Dialect
from .tree import Body, Compound, Node, compound, match_statement


class Filler:
    """Writes statements that leave connections alone."""

    def __init__(self, random: Random, dialect: Dialect, first: int = 0) -> None:
        """Write in ``dialect``, numbering from ``first``."""
        self.random = random
        self.dialect = dialect
        self._number = first

    def number(self) -> int:
        """A fresh number, so that no two opaque things look the same."""
        self._number += 1
        return self._number

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.random.random() < probability

    def work(self) -> str:
        """A call that may raise."""
        if self.dialect.is_async and self.chance(0.7):
            return f"await awork({self.number()})"
        return f"work({self.number()})"

    def test(self) -> str:
        """An opaque condition: mostly one that cannot raise."""
        if self.chance(0.3):
            return f"cond({self.number()})"
        return f"settings.flag{self.number()}"

    def query(self, name: str) -> Body:
        """Work on the connection ``name``."""
        if self.dialect.is_async:
            return [
                self.random.choice(
                    (f'await {name}.execute("select 1")', f'row = await {name}.fetchrow("select 1")'),
                ),
            ]
        choices: list[Body] = [
            [f'{name}.cursor().execute("select 1")'],
            [f"cur = {name}.cursor()", 'cur.execute("select 1")'],
            [f"cur = {name}.cursor()", "cur.close()"],
            [f"{name}.commit()"],
            [compound((f"with {name}.cursor() as cur:", ['cur.execute("select 1")']))],
        ]
        return self.random.choice(choices)

    def quiet(self) -> Node:
        """A statement that does not raise."""
        return self.random.choice(
            (
                'logger.info("working")',
                'print("working")',
                f"total = {self.number()} + 1",
                "count = len(DSN)",
                'label = f"{DSN}!"',
                "known = isinstance(DSN, str)",
            ),
        )

    def handler(self) -> str:
        """The header of a handler."""
        headers = [
            "except ValueError:",
            "except Exception:",
            "except Exception as e:",
            "except ValueError as e:",
            "except (ValueError, KeyError):",
            "except LookupError:",
            "except Other:",
            f"except {self.dialect.error}:",
            "except:",
            "except BaseException:",
        ]
        weights = [4, 5, 2, 2, 2, 1, 1, 2, 2, 1]
        if self.dialect.is_async:
            headers += ["except asyncio.CancelledError:", "except (Exception, asyncio.CancelledError):"]
            weights += [1, 1]
        return self.random.choices(headers, weights)[0]

    def broad_handler(self) -> str:
        """The header of a handler that catches everything the dialect can raise."""
        if self.dialect.is_async:
            return self.random.choice(("except:", "except BaseException:"))
        return self.random.choice(("except Exception:", "except:", "except BaseException:", "except Exception as e:"))

    def leave(self, *, in_loop: bool) -> str:
        """A statement that leaves the function or the loop."""
        choices = ["return", "return None", "raise ValueError()", "raise Other"]
        if in_loop:
            choices += ["break", "break", "continue", "continue"]
        return self.random.choice(choices)

    def body(self, names: list[str], depth: int, *, in_loop: bool, size: int = 3) -> Body:
        """Up to ``size`` statements with the connections ``names`` at hand, at least one."""
        statements: Body = []
        for _ in range(self.random.randint(1, size)):
            statements.extend(self.statement(names, depth, in_loop=in_loop))
        return statements

    def statement(self, names: list[str], depth: int, *, in_loop: bool) -> Body:
        """One or two statements."""
        if depth <= 0 or self.chance(0.6):
            return self._simple(names)
        kind = self.random.choice((self._branch, self._branch, self._loop, self._handled, self._scope, self._match))
        return [kind(names, depth - 1, in_loop=in_loop)]

    def _simple(self, names: list[str]) -> Body:
        choice = self.random.random()
        if choice < 0.35:
            return [self.work()]
        if choice < 0.65 and names:
            return self.query(self.random.choice(names))
        if choice < 0.85:
            return [self.quiet()]
        return [
            self.random.choice(
                (
                    'row = registry["x"]',
                    f"first, second = pair({self.number()})",
                    "import plugin",
                    f"use({self.random.choice(names)})" if names else "use(DSN)",
                    f"values = [work({self.number()}) for _ in items({self.number()})]",
                    f"assert settings.flag{self.number()}",
                    "label = DSN if settings.debug else None",
                ),
            ),
        ]

    def _branch(self, names: list[str], depth: int, *, in_loop: bool) -> Compound:
        then = self.body(names, depth, in_loop=in_loop)
        if self.chance(0.5):
            then.append(self.leave(in_loop=in_loop))
        clauses = [(f"if {self.test()}:", then)]
        if self.chance(0.2):
            clauses.append((f"elif {self.test()}:", self.body(names, depth, in_loop=in_loop)))
        if self.chance(0.3):
            clauses.append(("else:", self.body(names, depth, in_loop=in_loop)))
        return compound(*clauses)

    def loop_header(self) -> str:
        """The header of a loop that may run any number of times."""
        headers = [
            f"while {self.test()}:",
            f"for item in items({self.number()}):",
            f"for attempt in range({self.number()}):",
        ]
        if self.dialect.is_async:
            headers.append(f"async for item in items({self.number()}):")
        return self.random.choice(headers)

    def _loop(self, names: list[str], depth: int, *, in_loop: bool) -> Compound:
        inner = self.body(names, depth, in_loop=True)
        if self.chance(0.5):
            inner.append(compound((f"if {self.test()}:", [self.leave(in_loop=True)])))
        clauses = [(self.loop_header(), inner)]
        if self.chance(0.2):
            clauses.append(("else:", self.body(names, depth, in_loop=in_loop)))
        return compound(*clauses)

    def _handled(self, names: list[str], depth: int, *, in_loop: bool) -> Compound:
        clauses = [("try:", self.body(names, depth, in_loop=in_loop))]
        for _ in range(self.random.choice((1, 1, 1, 2))):
            header = self.handler()
            ending = self.random.choice(("raise", "pass", "return", 'logger.error("failed")'))
            handler: Body = [ending] if self.chance(0.6) else [*self.body(names, depth - 1, in_loop=in_loop), ending]
            clauses.append((header, handler))
            if header in {"except:", "except BaseException:"}:
                break
        if self.chance(0.2):
            clauses.append(("else:", self.body(names, depth, in_loop=in_loop)))
        if self.chance(0.2):
            clauses.append(("finally:", self.body(names, 0, in_loop=in_loop)))
        return compound(*clauses)

    def _scope(self, names: list[str], depth: int, *, in_loop: bool) -> Compound:
        headers = [f"with ctx({self.number()}):", "with lock:"]
        if self.dialect.is_async:
            headers += [f"async with ctx({self.number()}):"]
        headers += [scope.format(name) for scope in self.dialect.scopes for name in names]
        return compound((self.random.choice(headers), self.body(names, depth, in_loop=in_loop)))

    def _match(self, names: list[str], depth: int, *, in_loop: bool) -> Compound:
        cases: list[tuple[str, Body]] = [
            ("0", self.body(names, depth, in_loop=in_loop)),
            ("1", [self.leave(in_loop=in_loop)]),
        ]
        if self.chance(0.5):
            cases.append(("_", self.body(names, depth, in_loop=in_loop)))
        return match_statement(f"settings.mode{self.number()}", cases)
