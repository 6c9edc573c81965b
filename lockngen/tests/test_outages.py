"""Which errors are transient, and what they mean for their transaction."""

import psycopg
import psycopg_pool
import pytest
from django.db import DatabaseError, InterfaceError
from procrastinate.exceptions import ConnectorException
from psycopg import errors

from lockngen.database import retry
from lockngen.database.retry import Outage


def caused_by(error: Exception, wrapper: type[Exception] = DatabaseError) -> Exception:
    wrapped = wrapper()
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errors.DeadlockDetected(), Outage.ROLLED_BACK),
        (errors.LockNotAvailable(), Outage.ROLLED_BACK),
        (errors.TooManyConnections(), Outage.ROLLED_BACK),
        (psycopg_pool.PoolTimeout(), Outage.ROLLED_BACK),
        (errors.AdminShutdown(), Outage.CONNECTION_LOST),
        (errors.ProtocolViolation(), Outage.CONNECTION_LOST),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Outage.CONNECTION_LOST),
        (InterfaceError("connection already closed"), Outage.CONNECTION_LOST),
        (caused_by(errors.AdminShutdown(), ConnectorException), Outage.CONNECTION_LOST),
        (caused_by(errors.IdleInTransactionSessionTimeout()), Outage.PERMANENT),
        (caused_by(errors.DiskFull()), Outage.PERMANENT),
        (caused_by(errors.QueryCanceled()), Outage.PERMANENT),
        (caused_by(errors.UniqueViolation()), None),
        (caused_by(errors.UndefinedTable()), None),
        (caused_by(psycopg.InterfaceError("the cursor is closed"), InterfaceError), None),
        (ConnectorException(), None),
        (ValueError(), None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_outage__classifies_errors(error, meaning):
    assert retry.outage(error) is meaning
    assert retry.is_transient(error) == (meaning in (Outage.ROLLED_BACK, Outage.CONNECTION_LOST))


def test_outages__are_sqlstates_that_exist():
    for code in retry.OUTAGES:
        assert errors.lookup(code).sqlstate == code
