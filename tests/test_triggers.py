"""Which bytes make a file worth a parse: a call of a driver stands with its package; some drivers take nothing."""

from __future__ import annotations

import pytest

from leakcheck.calls import load_calls
from leakcheck.driver_data import load_drivers
from leakcheck.project.triggers import Triggers

TRIGGERS = Triggers(load_drivers(), load_calls())


@pytest.mark.parametrize(
    "text",
    [
        "import psycopg2\nconn = psycopg2.connect(dsn)\n",
        "from sqlalchemy import create_engine\n",
        "import sqlite3\nfrom app import pool\nconn = (pool.\n    acquire())\n",
        "from app import pool\nconn = pool.acquire()\n",
        "from app import things\nconn = things.getconn()\n",
        "from dbutils.pooled_db import PooledDB\nfrom app import store\ntake = store.connection\n",
        "import os, \\\n    sqlite3\nconn = sqlite3.connect('a')\n",
        "from app import database\n\ndatabase.execute('set local statement_timeout = 5')\n",
        "from app import database\n\ndatabase.execute('Begin Transaction')\n",
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
        "import dbutils\nfrom app import store\nname = store.connection.name\nstore.connection = None\n",
        "class Tests:\n    databases = {'default'}\n\n    def test(self):\n        signal.connect(self.received)\n",
        "from django.core import mail\n\nmail.getConnection()\n",
        'def volume(hass):\n    """Set the volume."""\n    hass.executed()\n',
        'def begin(hass):\n    """Begin what follows."""\n    hass.executed()\n',
    ],
)
def test_a_file_that_cannot(text: str) -> None:
    assert not TRIGGERS.in_(text.encode())
