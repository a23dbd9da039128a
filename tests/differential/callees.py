"""The functions that a scenario calls to get, give back or borrow a connection.

Input: a flavour's base dialect. Output: a ``Callees``: definitions, and the dialect in which the scenario then
speaks. With ``take`` for a helper that acquires, the scenario's checkout is ``take()`` instead of ``pool.getconn()``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from .dialect import Dialect
from .filler import Filler
from .tree import Body, Node, compound

METHODS = ("get", "put")
TOLD_SHARE, CONTAINER_SHARE = 0.25, 0.25
SECOND_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Callees:
    """Definitions to put before the scenario, and how to use them."""

    definitions: Body
    dialect: Dialect
    names: tuple[str, ...]
    setup: tuple[str, ...] = ()


Writer = Callable[["CalleeWriter"], Callees]


class CalleeWriter:
    """Writes definitions in one dialect."""

    def __init__(self, random: Random, dialect: Dialect) -> None:
        """Write in ``dialect``."""
        self.random = random
        self.dialect = dialect
        self.filler = Filler(random, dialect, 1000)

    def definition(self, signature: str, body: Body, *decorators: str) -> Body:
        """A function, a coroutine function where the dialect asks for one."""
        prefix = "async " if self.dialect.is_async else ""
        return [*decorators, compound((f"{prefix}def {signature}:", body))]

    def called(self, call: str) -> str:
        """How a function of ``definition`` is called."""
        return f"await {call}" if self.dialect.is_async else call

    # Functions that return a fresh connection.

    def taking(self, result: str = "conn") -> Body:
        """A body that checks out and returns ``result``, an expression of ``conn``."""
        take, give = f"conn = {self.dialect.checkout}", self.dialect.give_back("conn")
        broad = self.filler.broad_handler()
        work = self.filler.query("conn")
        bodies: list[Body] = [
            [take, f"return {result}"],
            [take, f"return {result}"],
            [self.filler.work(), take, f"return {result}"],
            [take, *work, f"return {result}"],
            [take, compound(("try:", work), (broad, [give, "raise"])), f"return {result}"],
            [take, compound(("try:", work), (self.filler.handler(), [give, "raise"])), f"return {result}"],
            [take, compound((f"if {self.filler.test()}:", [give, "raise ValueError()"])), f"return {result}"],
            [
                compound(("try:", [take]), ("except Exception:", ['logger.error("failed")', "raise"])),
                f"return {result}",
            ],
            [
                compound(
                    (
                        f"for attempt in range({self.filler.number()}):",
                        [compound(("try:", [take, f"return {result}"]), ("except ValueError:", [self.filler.work()]))],
                    ),
                ),
                "raise ValueError()",
            ],
        ]
        if result == "conn":
            bodies += [[f"return {self.dialect.checkout}"]] * 3
        return self.random.choice(bodies)

    def taking_perhaps(self) -> Body:
        """A body that returns a connection or None."""
        take, give = f"conn = {self.dialect.checkout}", self.dialect.give_back("conn")
        test = self.filler.test()
        bodies: list[Body] = [
            [compound((f"if {test}:", ["return None"])), take, "return conn"],
            [f"return {self.dialect.checkout} if {test} else None"],
            [compound(("try:", [f"return {self.dialect.checkout}"]), ("except Exception:", ["return None"]))],
            ["conn = None", compound((f"if {test}:", [take])), "return conn"],
            [take, compound((f"if {test}:", [give, "return None"])), "return conn"],
            [take, compound((f"if {test}:", ["return None"])), "return conn"],
            [
                "conn = None",
                compound(("try:", [take, *self.filler.query("conn")]), ("except Exception:", ["return None"])),
                "return conn",
            ],
        ]
        return self.random.choice(bodies)

    # Functions that give one back.

    def giving(self) -> Body:
        """A body that releases its parameter ``conn``, and does not raise before."""
        give = self.dialect.give_back("conn")
        bodies: list[Body] = [
            [give],
            [give],
            ['logger.info("done")', give],
            [compound(("if conn is not None:", [give]))],
            [compound(("try:", [self.filler.work()]), ("finally:", [give]))],
            [compound(("try:", ["conn.commit()" if not self.dialect.is_async else "use(conn)"]), ("finally:", [give]))],
            [give, self.filler.work()],
            [compound(("if conn is None:", ["return"])), give],
        ]
        return self.random.choice(bodies)

    def giving_when_told(self) -> tuple[str, Body, str]:
        """The signature and the body of a function that releases where its caller says so, and a call of it."""
        body = [compound(("if close:", self.giving()))]
        default, call = self.random.choice(
            (
                ("True", "give({})"),
                ("True", "give({})"),
                ("True", "give({}, False)"),
                ("False", "give({})"),
                ("False", "give({}, True)"),
                ("None", "give({}, True)"),
            ),
        )
        return f"give(conn, close={default})", body, call

    def giving_what_is_in(self) -> tuple[str, Body, str]:
        """The signature and the body of a function that releases what is in a container, and a call of it."""
        return self.random.choice(
            (
                ("give(conns)", [compound(("for conn in conns:", self.giving()))], "give([{}])"),
                ("give(conns)", ["conn = conns[0]", *self.giving()], "give(({}, DSN))"),
                ("give(conns)", ["_, conn = conns", *self.giving()], "give((DSN, {}))"),
                ("give(conns)", ["conn, _ = conns", *self.giving_sometimes()], "give([{}, DSN])"),
                ("give(*conns)", [compound(("for conn in conns:", self.giving()))], "give({})"),
                ("give(conns)", ["use(conns)"], "give([{}])"),
            ),
        )

    def giving_sometimes(self) -> Body:
        """A body that releases on some paths only."""
        give = self.dialect.give_back("conn")
        test = self.filler.test()
        bodies: list[Body] = [
            [compound((f"if {test}:", [give]))],
            [compound((f"if {test}:", ["return"])), give],
            [compound(("try:", [self.filler.work()]), ("except ValueError:", ["return"])), give],
            [compound((self.filler.loop_header(), [give, "break"]))],
            [compound((f"if {test}:", [give, f"return {self.filler.number()}"])), "return None"],
            [compound(("try:", [self.filler.work()]), ("except Exception:", ["pass"]), ("else:", [give]))],
        ]
        return self.random.choice(bodies)

    def giving_late(self) -> Body:
        """A body that may raise before it releases."""
        give = self.dialect.give_back("conn")
        bodies: list[Body] = [
            [self.filler.work(), give],
            [*self.filler.query("conn"), give],
            [compound(("try:", [self.filler.work()]), (self.filler.handler(), ["pass"])), give],
            [compound((f"with ctx({self.filler.number()}):", [give]))],
            ['row = registry["x"]', give],
            [f"assert settings.flag{self.filler.number()}", give],
        ]
        return self.random.choice(bodies)

    # Functions that lend one.

    def lending(self) -> Body:
        """The body of a context manager."""
        take, give = f"conn = {self.dialect.checkout}", self.dialect.give_back("conn")
        lend: Node = "yield conn"
        query, broad = self.filler.query("conn"), self.filler.broad_handler()
        bodies: list[Body] = [
            [take, compound(("try:", [lend]), ("finally:", [give]))],
            [take, compound(("try:", [lend]), ("finally:", [give]))],
            [take, lend, give],
            [take, compound(("try:", [lend]), ("except Exception:", [give, "raise"])), give],
            [take, compound(("try:", [lend]), ("except BaseException:", [give, "raise"]), ("else:", [give]))],
            [
                take,
                compound(("try:", [lend, *query]), ("except:", [self.filler.work(), "raise"]), ("finally:", [give])),
            ],
            [take, compound(("try:", [lend]), ("finally:", [*query, give]))],
            [take, *query, compound(("try:", [lend]), ("finally:", [give]))],
            [
                "conn = None",
                compound(("try:", [take, lend]), ("finally:", [compound(("if conn is not None:", [give]))])),
            ],
            [take, compound(("try:", [lend]), ("except ValueError:", ["pass"]), ("finally:", [give]))],
            [take, compound(("try:", [lend]), ("except ValueError:", ["pass"])), give],
            [take, compound(("try:", [lend]), ("except Exception:", ["pass"]), ("finally:", [give]))],
            [take, compound(("try:", [lend]), (broad, ['logger.error("failed")']), ("finally:", [give]))],
            [take, compound(("try:", [lend]), ("finally:", [give, "return"]))],
        ]
        bodies += [[compound((managed.format("conn"), [lend]))] for managed in self.dialect.managed]
        return self.random.choice(bodies)


def _speaking(dialect: Dialect, checkout: str | None = None, release: str | None = None) -> Dialect:
    """``dialect`` with other texts for taking and giving."""
    return replace(
        dialect,
        checkout=checkout or dialect.checkout,
        release=release or dialect.release,
        managed=(),
        is_plain=False,
    )


def helper_acquires(writer: CalleeWriter) -> Callees:
    """A module function returns a fresh connection."""
    definitions = writer.definition("take()", writer.taking())
    return Callees(definitions, _speaking(writer.dialect, writer.called("take()")), ("take",))


def helper_releases(writer: CalleeWriter) -> Callees:
    """A module function releases."""
    told = writer.random.random()
    if told < TOLD_SHARE:
        signature, body, call = writer.giving_when_told()
    elif told < TOLD_SHARE + CONTAINER_SHARE:
        signature, body, call = writer.giving_what_is_in()
    else:
        signature, body, call = "give(conn)", writer.giving(), "give({})"
    definitions = writer.definition(signature, body)
    return Callees(definitions, _speaking(writer.dialect, None, writer.called(call)), ("give",))


def helper_releases_some(writer: CalleeWriter) -> Callees:
    """A module function releases on some paths."""
    definitions = writer.definition("give(conn)", writer.giving_sometimes())
    return Callees(definitions, _speaking(writer.dialect, None, writer.called("give({})")), ("give",))


def helper_raises_first(writer: CalleeWriter) -> Callees:
    """A module function may raise before it releases."""
    definitions = writer.definition("give(conn)", writer.giving_late())
    return Callees(definitions, _speaking(writer.dialect, None, writer.called("give({})")), ("give",))


def _both(writer: CalleeWriter) -> tuple[Body, Body]:
    """The bodies of a function that takes and of one that gives."""
    giving = writer.random.choices((writer.giving, writer.giving_sometimes, writer.giving_late), (6, 1, 2))[0]
    return writer.taking(), giving()


def two_levels(writer: CalleeWriter) -> Callees:
    """Functions that take and give by way of others."""
    taking, giving = _both(writer)
    definitions = writer.definition("take_inner()", taking) + writer.definition("give_inner(conn)", giving)
    outer = CalleeWriter(
        writer.random,
        _speaking(writer.dialect, writer.called("take_inner()"), writer.called("give_inner({})")),
    )
    taking, giving = _both(outer)
    definitions += outer.definition("take()", taking) + outer.definition("give(conn)", giving)
    dialect = _speaking(writer.dialect, writer.called("take()"), writer.called("give({})"))
    return Callees(definitions, dialect, ("take", "give"))


def taking_and_giving(writer: CalleeWriter) -> Callees:
    """A function that takes and one that gives."""
    taking, giving = _both(writer)
    definitions = writer.definition("take()", taking) + writer.definition("give(conn)", giving)
    dialect = _speaking(writer.dialect, writer.called("take()"), writer.called("give({})"))
    return Callees(definitions, dialect, ("take", "give"))


def methods(writer: CalleeWriter) -> Callees:
    """A class around the pool, with a method that takes and one that gives."""
    of_object = replace(
        writer.dialect,
        checkout=writer.dialect.checkout.replace("pool.", "self.pool."),
        release=writer.dialect.release.replace("pool.", "self.pool."),
    )
    taking, giving = _both(CalleeWriter(writer.random, of_object))
    make = compound(("def __init__(self, pool):", ["self.pool = pool"]))
    store = compound(
        (
            "class Store:",
            [make, *writer.definition("get(self)", taking), *writer.definition("put(self, conn)", giving)],
        ),
    )
    source = "pool" if writer.dialect.is_pool else "DSN"
    dialect = _speaking(writer.dialect, writer.called("store.get()"), writer.called("store.put({})"))
    return Callees([store], dialect, ("Store",), (f"store = Store({source})",))


def context_managers(writer: CalleeWriter) -> Callees:
    """A context manager that lends a connection."""
    prefix = "async " if writer.dialect.is_async else ""
    decorator = "@asynccontextmanager" if writer.dialect.is_async else "@contextmanager"
    definitions = writer.definition("session()", writer.lending(), decorator)
    dialect = replace(writer.dialect, managed=(f"{prefix}with session() as {{}}:",), managed_weight=60)
    return Callees(definitions, dialect, ("session",))


def tuples(writer: CalleeWriter) -> Callees:
    """A function that returns a connection and something else, perhaps a second connection."""
    if writer.random.random() < SECOND_SHARE:
        return _two_connections(writer)
    cursor = "conn.cursor()" if not writer.dialect.is_async else "DSN"
    result = writer.random.choice((f"conn, {cursor}", "conn, DSN"))
    definitions = writer.definition("take()", writer.taking(result))
    dialect = replace(_speaking(writer.dialect, writer.called("take()")), unpacks=True)
    return Callees(definitions, dialect, ("take",))


def _two_connections(writer: CalleeWriter) -> Callees:
    """A function that returns two connections, of which the scenario gives back both, or forgets one."""
    second = writer.dialect.checkout
    result = writer.random.choice((f"conn, {second}", f"{second}, conn"))
    definitions = writer.definition("take()", writer.taking(result))
    give = writer.dialect.release
    release = writer.random.choice(
        (f"{give}; {give.format('extra')}", f"{give.format('extra')}; {give}", give, give.format("extra")),
    )
    dialect = replace(_speaking(writer.dialect, writer.called("take()"), release), unpacks=True)
    return Callees(definitions, dialect, ("take",))


def conditional(writer: CalleeWriter) -> Callees:
    """A function that returns a connection or None."""
    definitions = writer.definition("take()", writer.taking_perhaps())
    return Callees(definitions, _speaking(writer.dialect, writer.called("take()")), ("take",))


CALLEES: dict[str, Writer] = {
    "helper-acquires": helper_acquires,
    "helper-releases": helper_releases,
    "helper-releases-some": helper_releases_some,
    "helper-raises-first": helper_raises_first,
    "two-levels": two_levels,
    "methods": methods,
    "context-managers": context_managers,
    "tuples": tuples,
    "conditional": conditional,
}
