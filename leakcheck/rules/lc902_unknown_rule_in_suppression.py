"""A suppression comment names a rule that does not exist.

## What it does

Reports a code or name inside `# leakcheck: ignore[…]` that is no rule of leakcheck.

## Why is this bad?

The comment has no effect: usually a digit or a letter is wrong, and the leak is reported all the same.
Or it was meant for another tool, and the reader believes it works.

## Example

```python
import sqlite3
from contextlib import closing


def count_orders(path):
    with closing(sqlite3.connect(path)) as conn:  # leakcheck: ignore[LC1022]
        return conn.execute("SELECT count(*) FROM orders").fetchone()[0]
```

## Use instead

```python
import sqlite3
from contextlib import closing


def count_orders(path):
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute("SELECT count(*) FROM orders").fetchone()[0]
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Codes of other tools in `# noqa: …` are none of leakcheck's business and are not reported.
"""

from __future__ import annotations

from leakcheck.rule import Rule

RULE = Rule(code="LC902", name="unknown-rule-in-suppression", page=__doc__)
