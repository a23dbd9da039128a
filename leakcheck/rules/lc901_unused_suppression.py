"""A suppression comment suppresses nothing.

## What it does

Reports `# leakcheck: ignore[…]` and `# leakcheck: ignore-file[…]` where the rules they name would
report nothing, in whole or in part.

## Why is this bad?

The leak it was written for is gone, or moved. The comment stays, hides the next leak on that line, and
tells the reader of a problem that does not exist.

## Example

```python
import sqlite3
from contextlib import closing


def count_orders(path):
    with closing(sqlite3.connect(path)) as conn:  # leakcheck: ignore[LC101]
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

A suppression of a rule that is not selected in this run is not called unused.
"""

from __future__ import annotations

from leakcheck.rule import Rule

RULE = Rule(code="LC901", name="unused-suppression", page=__doc__)
