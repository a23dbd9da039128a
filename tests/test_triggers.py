"""Which bytes make a file worth a parse: a call of a driver stands with its package; some drivers take nothing."""

from __future__ import annotations

import pytest

from leakcheck.driver_data import load_drivers
from leakcheck.project.triggers import Triggers

TRIGGERS = Triggers(load_drivers())


@pytest.mark.parametrize(
    "text",
    [
        "import psycopg2\nconn = psycopg2.connect(dsn)\n",
        "from sqlalchemy import create_engine\n",
        "import sqlite3\nfrom app import pool\nconn = (pool.\n    acquire())\n",
        "from app import pool\nconn = pool.acquire()\n",
        "from app import things\nconn = things.getconn()\n",
        "from django.db import connection\n\nwith connection.cursor() as cur:\n    cur.execute('SET ROLE app')\n",
    ],
)
def test_a_file_that_can_take_something_or_change_a_session(text: str) -> None:
    assert TRIGGERS.in_(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "from django.db import connection\n\nwith connection.cursor() as cur:\n    cur.execute('SELECT 1')\n",
        "from django.contrib.sessions import Session\nENGINE = 'django'\n",
        "import socket\n\nclient = socket.socket()\nclient.connect(address)\n",
        "import pymongo\nconnection = 1\n",
    ],
)
def test_a_file_that_cannot(text: str) -> None:
    assert not TRIGGERS.in_(text.encode())
