"""The shapes in which people hold a connection: right as written here, until filler or a mutation breaks them.

Input: the filler and how many checkouts to write. Output: the body of a function, e.g.

    conn = pool.getconn()
    try:
        work(1)
    finally:
        pool.putconn(conn)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .filler import Filler
from .holders import HOLDERS
from .tree import Body, Compound, compound, match_statement

NAMES = ("conn", "other", "db", "c2")
Shape = Callable[[str, bool], Body]


class Shapes:
    """Writes lifecycles around filler."""

    def __init__(self, filler: Filler, checkouts: int, *, holders: bool = False) -> None:
        """Write up to ``checkouts`` checkouts; ``holders``: in the shapes of that module instead."""
        self._holders = holders
        self.filler = filler
        self.random = filler.random
        self.dialect = filler.dialect
        self.names: list[str] = []
        self._remaining = checkouts
        self.globals: list[str] = []
        self._shapes = self._table()

    def function_body(self) -> Body:
        """All lifecycles, nested or one after the other."""
        body: Body = []
        while self._remaining > 0:
            if self.filler.chance(0.3):
                body.extend(self.filler.statement([], 1, in_loop=False))
            body.extend(self.lifecycle(in_loop=False))
        if self.filler.chance(0.2):
            body.append(f"return {self.filler.number()}")
        return body

    def lifecycle(self, *, in_loop: bool) -> Body:
        """One connection from its checkout to its end."""
        self._remaining -= 1
        if self.names and self.filler.chance(0.12):
            name = self.random.choice(self.names)
        else:
            name = next((name for name in NAMES if name not in self.names), NAMES[0])
        self.names.append(name)
        shapes, weights = self._shapes
        return self.random.choices(shapes, weights)[0](name, in_loop)

    def _table(self) -> tuple[list[Shape], list[int]]:
        """The shapes, and how often each is chosen."""
        dialect = self.dialect
        weighted: list[tuple[Shape, int]] = [
            (self._straight, 8),
            (self._finally, 11),
            (self._none_first, 10),
            (self._handlers, 8),
            (self._hand_on, 7),
            (self._in_loop, 7),
            (self._retry, 5),
            (self._nested_function, 4),
            (self._match, 2),
            (self._alias, 4),
            (self._overwritten, 3),
        ]
        if not dialect.unpacks:
            weighted += [
                (self._conditional, 5),
                (self._early_return, 4),
                (self._lazy, 3),
                (self._walrus, 2),
                (self._discarded, 2),
            ]
        if dialect.managed:
            weighted.append((self._managed, dialect.managed_weight))
        if dialect.is_plain and not dialect.is_async:
            weighted.append((self._exit_stack, 2))
        if dialect.is_plain and dialect.name == "sync-plain":
            weighted += [(self._closing, 5), (self._near_miss, 2)]
        if self._holders:
            weighted = [(partial(holder, self), weight) for holder, weight in HOLDERS]
        return [shape for shape, _ in weighted], [weight for _, weight in weighted]

    # Parts.

    def take(self, name: str) -> str:
        target = f"{name}, extra" if self.dialect.unpacks else name
        return f"{target} = {self.dialect.checkout}"

    def give(self, name: str) -> str:
        return self.dialect.give_back(name)

    def work(self, name: str, *, in_loop: bool, depth: int = 2) -> Body:
        """What is done with the connection, perhaps with another one inside."""
        statements = self.filler.body([name], depth, in_loop=in_loop)
        if self._remaining > 0 and self.filler.chance(0.6):
            position = self.random.randint(0, len(statements))
            statements[position:position] = self.lifecycle(in_loop=in_loop)
        return statements

    def _gap(self) -> Body:
        """What stands between a checkout and its ``try``: mostly nothing, or nothing that raises."""
        if self.filler.chance(0.2):
            return [self.filler.work()]
        return [self.filler.quiet()] if self.filler.chance(0.1) else []

    def _guarded_give(self, name: str) -> Body:
        """A release that copes with None."""
        give: Body = [self.give(name)]
        guard = self.random.choice((f"if {name} is not None:", f"if {name}:", "reversed", "and", "bare"))
        if guard == "reversed":
            return [compound((f"if {name} is None:", [self.filler.quiet()]), ("else:", give))]
        if guard == "and":
            if self.dialect.is_async:
                return [compound((f"if {name} and {self.filler.test()} or {name}:", give))]
            return [f"{name} and {self.give(name)}"]
        if guard == "bare" and self.dialect.is_pool:
            return give
        if guard == "bare":
            guard = f"if not {name} is None:"
        return [compound((guard, give))]

    def _before_release(self) -> Body:
        """What precedes the release in a ``finally``: seldom something that raises."""
        if self.filler.chance(0.18):
            return [self.filler.work()]
        return [self.filler.quiet()] if self.filler.chance(0.1) else []

    # Shapes.

    def _straight(self, name: str, in_loop: bool) -> Body:
        """Take, work, give back: lost whenever the work raises."""
        quiet = self.filler.chance(0.5)
        inner: Body = [self.filler.quiet()] if quiet else self.work(name, in_loop=in_loop)
        return [self.take(name), *inner, self.give(name)]

    def _finally(self, name: str, in_loop: bool) -> Body:
        """The right way."""
        clauses = [("try:", self.work(name, in_loop=in_loop, depth=2))]
        if self.filler.chance(0.35):
            handler = self.random.choice(
                ("raise", "pass", "return", 'logger.error("failed")', "raise RuntimeError() from None")
            )
            clauses.append((self.filler.handler(), [handler]))
            if self.filler.chance(0.25):
                clauses.append(("else:", self.filler.body([name], 0, in_loop=in_loop)))
        clauses.append(("finally:", [*self._before_release(), self.give(name)]))
        return [self.take(name), *self._gap(), compound(*clauses)]

    def _none_first(self, name: str, in_loop: bool) -> Body:
        """Bound to None before the ``try``, so that the ``finally`` can ask."""
        inner = [self.take(name), *self.work(name, in_loop=in_loop)]
        if self.filler.chance(0.3):
            inner[0:0] = self.filler.statement([], 0, in_loop=in_loop)
        clauses = [("try:", inner)]
        if self.filler.chance(0.4):
            handler = self.random.choice(("raise", "pass", "return", 'logger.error("failed")'))
            clauses.append((self.filler.handler(), [handler]))
        clauses.append(("finally:", [*self._before_release(), *self._guarded_give(name)]))
        return [f"{name} = None", compound(*clauses)]

    def _handlers(self, name: str, in_loop: bool) -> Body:
        """Released in a handler and after the ``try``, or in its ``else``."""
        broad = self.filler.broad_handler() if self.filler.chance(0.6) else self.filler.handler()
        ending = self.random.choice(("raise", "return", "raise RuntimeError() from None"))
        clauses = [("try:", self.work(name, in_loop=in_loop))]
        if self.filler.chance(0.2):
            clauses.append((self.filler.handler().replace("except:", "except ValueError:"), [self.give(name), ending]))
        clauses.append((broad, [self.give(name), ending]))
        if self.filler.chance(0.4):
            return [self.take(name), *self._gap(), compound(*clauses, ("else:", [self.give(name)]))]
        return [self.take(name), *self._gap(), compound(*clauses), self.give(name)]

    def _hand_on(self, name: str, in_loop: bool) -> Body:
        """Returned or stored; released where something raises before that."""
        store = self.random.choice(
            (
                f"return {name}",
                f"return {name}",
                f"return ({name}, {self.filler.number()})",
                f"return [{name}]",
                f'return {{"conn": {name}}}',
                f"bag.append({name})",
                f'registry["x"] = {name}',
                f"owner.conn = {name}",
                f"kept = {name}",
            ),
        )
        if store.startswith("kept"):
            self.globals.append("kept")
        if store.startswith("return") and (in_loop or self._remaining) and self.filler.chance(0.7):
            store = f"bag.append({name})"
        if self.filler.chance(0.3):
            return [self.take(name), *self._gap(), store]
        work = compound(
            ("try:", self.work(name, in_loop=in_loop)),
            (self.filler.broad_handler(), [self.give(name), "raise"]),
        )
        return [self.take(name), work, store]

    def _conditional(self, name: str, in_loop: bool) -> Body:
        """Checked out only sometimes."""
        work = self.work(name, in_loop=in_loop)
        condition = self.filler.test()
        safe = compound(("try:", work), ("finally:", self._guarded_give(name)))
        if self.filler.chance(0.5):
            return [f"{name} = {self.dialect.checkout} if {condition} else None", safe]
        return [f"{name} = None", compound((f"if {condition}:", [self.take(name)])), safe]

    def _in_loop(self, name: str, in_loop: bool) -> Body:
        """One checkout per iteration."""
        del in_loop
        body: Body = [
            self.take(name),
            compound(("try:", self.work(name, in_loop=True)), ("finally:", [self.give(name)])),
        ]
        if self.filler.chance(0.3):
            body = [self.take(name), *self.filler.body([name], 1, in_loop=True), self.give(name)]
        if self.filler.chance(0.3):
            body.append(compound((f"if {self.filler.test()}:", [self.filler.leave(in_loop=True)])))
        clauses = [(self.filler.loop_header(), body)]
        if self.filler.chance(0.2):
            clauses.append(("else:", self.filler.body([], 0, in_loop=False)))
        return [compound(*clauses)]

    def _retry(self, name: str, in_loop: bool) -> Body:
        """Try until a checkout succeeds."""
        attempt: Body = [self.take(name)]
        if self.filler.chance(0.3):
            attempt += self.filler.query(name)
        leave_at_once = self.filler.chance(0.6)
        if leave_at_once:
            attempt.append("break")
        handler = self.random.choice(("pass", "continue", 'logger.error("again")', self.filler.work()))
        tried = compound(("try:", attempt), (self.filler.handler(), [handler]))
        header = self.random.choice(
            (f"for attempt in range({self.filler.number()}):", "while True:", f"while {name} is None:"),
        )
        body: Body = [tried]
        if header == "while True:":
            tried = compound(*((clause.header, clause.body) for clause in tried.clauses), ("else:", ["break"]))
            body = [tried]
        safe = compound(("try:", self.work(name, in_loop=in_loop)), ("finally:", self._guarded_give(name)))
        return [f"{name} = None", compound((header, body)), safe]

    def _nested_function(self, name: str, in_loop: bool) -> Body:
        """Released by a function inside the function."""
        if self.dialect.is_async:
            finish, call = compound(("async def finish():", [self.give(name)])), "await finish()"
        else:
            finish, call = compound(("def finish():", [self.give(name)])), "finish()"
        if self.filler.chance(0.2):
            return [
                self.take(name),
                finish,
                self.random.choice(("return finish", "bag.append(finish)", "owner.finish = finish")),
            ]
        work = compound(("try:", self.work(name, in_loop=in_loop)), ("finally:", [call]))
        return [finish, self.take(name), work] if self.filler.chance(0.5) else [self.take(name), finish, work]

    def _walrus(self, name: str, in_loop: bool) -> Body:
        """Bound within a condition."""
        safe = compound(("try:", self.work(name, in_loop=in_loop)), ("finally:", [self.give(name)]))
        tail = "" if self.filler.chance(0.5) else " is not None"
        test = f"if ({name} := {self.dialect.checkout}){tail}:"
        return [compound((test, [safe]))]

    def _lazy(self, name: str, in_loop: bool) -> Body:
        """Checked out by ``or``, or where a test finds none."""
        safe = compound(("try:", self.work(name, in_loop=in_loop)), ("finally:", self._guarded_give(name)))
        if self.filler.chance(0.5):
            return [f"{name} = None", f"{name} = {name} or {self.dialect.checkout}", safe]
        return [f"{name} = None", compound((f"if {name} is None:", [self.take(name)])), safe]

    def _match(self, name: str, in_loop: bool) -> Body:
        """Released in each case of a ``match``."""
        before = self.filler.body([], 0, in_loop=in_loop) if self.filler.chance(0.3) else []
        cases: list[tuple[str, Body]] = [("0", [self.give(name)]), ("1", [*before, self.give(name)])]
        if self.filler.chance(0.7):
            cases.append(("_", [self.give(name)]))
        return [self.take(name), match_statement(f"settings.mode{self.filler.number()}", cases)]

    def _alias(self, name: str, in_loop: bool) -> Body:
        """Released by another name."""
        alias = self.random.choice(("alias", "held", "db"))
        drops: list[Body] = [[], [], [f"{name} = None"], [f"del {name}"]]
        drop = self.random.choice(drops)
        if drop:
            tail: Body = [self.filler.work()] if self.filler.chance(0.6) else []
            inner: Body = [*drop, *tail]
        else:
            inner = self.work(name, in_loop=in_loop)
        released = self.random.choice((alias, alias, name))
        return [
            self.take(name),
            f"{alias} = {name}",
            compound(("try:", inner), ("finally:", [self.give(released)])),
        ]

    def _discarded(self, name: str, in_loop: bool) -> Body:
        """Bound to nothing."""
        del name, in_loop
        checkout = self.dialect.checkout
        if self.dialect.is_async:
            return [self.random.choice((checkout, f"await ({checkout}).fetch(DSN)"))]
        ending = self.random.choice(("cur.close()", "use(cur)", "return cur"))
        choices: list[Body] = [
            [checkout],
            [f"cur = {checkout}.cursor()", ending],
            [f'{checkout}.cursor().execute("x")'],
        ]
        return self.random.choice(choices)

    def _overwritten(self, name: str, in_loop: bool) -> Body:
        """The name gets another value: fine after the release, a loss before it."""
        rebind = self.random.choice((f"{name} = None", f"del {name}", self.take(name)))
        self._remaining -= rebind == self.take(name)
        body: Body = [self.take(name)]
        give = self.give(name)
        body += [give, rebind] if self.filler.chance(0.5) else [rebind, give]
        if rebind == self.take(name) and body[-1] == rebind:
            body.append(give)
        return body if self.filler.chance(0.6) else [*body, *self.filler.body([], 0, in_loop=in_loop)]

    def _early_return(self, name: str, in_loop: bool) -> Body:
        """``if not conn: return`` before the release."""
        condition = self.filler.test()
        guard = self.random.choice((f"if not {name}:", f"if {name} is None:"))
        leave = "return" if not in_loop else self.random.choice(("return", "continue"))
        inner: Body = [] if self.filler.chance(0.4) else self.filler.body([name], 0, in_loop=in_loop)
        safe: Body = [compound(("try:", inner), ("finally:", [self.give(name)]))] if inner else [self.give(name)]
        return [f"{name} = {self.dialect.checkout} if {condition} else None", compound((guard, [leave])), *safe]

    def _managed(self, name: str, in_loop: bool) -> Body:
        """A ``with`` that releases."""
        header = self.random.choice(self.dialect.managed).format(name)
        return [compound((header, self.work(name, in_loop=in_loop)))]

    def _exit_stack(self, name: str, in_loop: bool) -> Body:
        """The release registered on an exit stack."""
        register = f"stack.callback(pool.putconn, {name})" if self.dialect.is_pool else f"stack.callback({name}.close)"
        body: Body = [self.take(name), register, *self.work(name, in_loop=in_loop)]
        if not self.dialect.is_pool and self.filler.chance(0.5):
            body[0:2] = [f"{name} = stack.enter_context(closing({self.dialect.checkout}))"]
        return [compound(("with ExitStack() as stack:", body))]

    def _closing(self, name: str, in_loop: bool) -> Body:
        """``closing`` around a connection that has a name."""
        block: Compound = compound((f"with closing({name}):", self.work(name, in_loop=in_loop)))
        return [self.take(name), *self._gap(), block]

    def _near_miss(self, name: str, in_loop: bool) -> Body:
        """The connection's own ``with``, which does not close it."""
        inner = self.work(name, in_loop=in_loop)
        if self.filler.chance(0.4):
            inner = [compound(("try:", inner), ("finally:", [self.give(name)]))]
        return [compound((f"with {self.dialect.checkout} as {name}:", inner))]
