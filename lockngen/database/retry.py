"""Which database errors are transient, and how a unit of work is retried after them.

A retried unit of work must not take effect twice. A retry is safe if the failed attempt was certainly rolled back: the
server's error code implies it (a deadlock's victim is rolled back), or COMMIT had not been sent. Otherwise the commit
is in doubt, and the unit first queries for the rows it would have stored.
"""

import functools
import logging
from collections.abc import Callable
from contextlib import nullcontext
from enum import Enum
from typing import Any

import psycopg
import psycopg_pool
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from procrastinate.exceptions import ConnectorException
from tenacity import RetryCallState, Retrying, retry_if_exception

from lockngen import retry_policies
from lockngen.database.base import is_ended
from lockngen.database.breaker import breaker
from lockngen.plain import one_line

logger = logging.getLogger(__name__)

# Django's errors, the driver's, and procrastinate's, which wraps the driver's.
ERRORS = (DatabaseError, InterfaceError, psycopg.Error, ConnectorException)


class InDoubt(OperationalError):
    """The connection was lost during COMMIT, and no query could establish whether the transaction was committed."""


class Outage(Enum):
    """What an error means for the transaction that it ended."""

    ROLLED_BACK = "nothing of it is stored: repeat it"
    CONNECTION_LOST = "the connection is lost: nothing is stored, unless COMMIT had been sent"
    PERMANENT = "repeating it at once would not help"


# Error codes by https://www.postgresql.org/docs/current/errcodes-appendix.html; any other code is a bug,
# not an outage. The transient ones are those of Npgsql's NpgsqlException.IsTransient, on which EF Core's
# EnableRetryOnFailure depends, plus those of a standby; Npgsql does not separate ROLLED_BACK from CONNECTION_LOST.
OUTAGES = {
    "08001": Outage.ROLLED_BACK,  # sqlclient_unable_to_establish_sqlconnection
    "08004": Outage.ROLLED_BACK,  # sqlserver_rejected_establishment_of_sqlconnection
    "53300": Outage.ROLLED_BACK,  # too_many_connections
    "57P03": Outage.ROLLED_BACK,  # cannot_connect_now: the server is starting, stopping or recovering
    "40001": Outage.ROLLED_BACK,  # serialization_failure
    "40P01": Outage.ROLLED_BACK,  # deadlock_detected
    "55P03": Outage.ROLLED_BACK,  # lock_not_available: DB_LOCK_TIMEOUT has passed
    # After a failover a session may be on a standby; the pool replaces it, see database/base.py.
    "25006": Outage.ROLLED_BACK,  # read_only_sql_transaction
    # feature_not_supported: a standby's error for UNLOGGED tables, and no other statement's
    "0A000": Outage.ROLLED_BACK,
    "08000": Outage.CONNECTION_LOST,  # connection_exception
    "08003": Outage.CONNECTION_LOST,  # connection_does_not_exist
    "08006": Outage.CONNECTION_LOST,  # connection_failure
    "08007": Outage.CONNECTION_LOST,  # transaction_resolution_unknown
    "08P01": Outage.CONNECTION_LOST,  # protocol_violation: PgBouncer's error when its server connection is lost
    "40003": Outage.CONNECTION_LOST,  # statement_completion_unknown
    "57P01": Outage.CONNECTION_LOST,  # admin_shutdown; also the result of COMMIT when the server stops during it
    "57P02": Outage.CONNECTION_LOST,  # crash_shutdown
    "57P05": Outage.CONNECTION_LOST,  # idle_session_timeout
    "25P03": Outage.PERMANENT,  # idle_in_transaction_session_timeout: the work itself is too slow
    "25P04": Outage.PERMANENT,  # transaction_timeout
    "53000": Outage.PERMANENT,  # insufficient_resources
    "53100": Outage.PERMANENT,  # disk_full
    "53200": Outage.PERMANENT,  # out_of_memory
    "53400": Outage.PERMANENT,  # configuration_limit_exceeded
    "57014": Outage.PERMANENT,  # query_canceled: DB_STATEMENT_TIMEOUT has passed
    "58000": Outage.PERMANENT,  # system_error
    "58030": Outage.PERMANENT,  # io_error
}


def outage(error: BaseException | None) -> Outage | None:
    """What an error means for its transaction, or None if it is not a database failure."""
    while error is not None and not isinstance(error, psycopg.Error):
        if isinstance(error, OperationalError | InterfaceError) and error.__cause__ is None:
            return Outage.CONNECTION_LOST  # Django's own error for a connection that was lost earlier
        error = error.__cause__
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests | psycopg_pool.PoolClosed):
        return Outage.ROLLED_BACK
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:  # raised by libpq, not by the server
        return Outage.CONNECTION_LOST
    return OUTAGES.get(getattr(error, "sqlstate", None))


def idempotent(function: Callable, *, long_running: bool = False) -> Callable:
    """Decorate a function that is safe to retry whether or not it was committed: a read or an idempotent write.

    Inside a transaction it is called once, because only the whole transaction can be retried. With `long_running` it is
    retried for DB_WORKER_RETRY_TIMEOUT, which suits a worker but not a client's request.
    """

    @functools.wraps(function)
    def repeated(*args, **kwargs):
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        return _retrying(is_transient, long_running)(function, *args, **kwargs)

    return repeated


def connect() -> None:
    """Open a connection for a statement that must not be sent twice, unless there is one that works."""
    if connection.connection is None or is_ended(connection.connection):
        _reconnect()


@idempotent
def _reconnect() -> None:
    connection.close()
    connection.ensure_connection()


def unit_of_work(
    find: Callable[..., Any] | None = None, *, long_running: bool = False, in_one_statement: bool = False
) -> Callable[[Callable], Callable]:
    """Run the decorated function in a transaction of its own, and retry it after transient errors.

    With `in_one_statement` the function executes a single statement, which is its own transaction: BEGIN and COMMIT
    would be two more round trips. A loss of the connection always leaves it in doubt.

    If an attempt may have been committed, `find` is called with the function's arguments. Its result is returned; if it
    is None, the function is called again. Without `find` such an attempt is not retried.
    Raises InDoubt if the outcome remains unknown, and RuntimeError inside another transaction, which only its owner
    can retry.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def repeated(*args, **kwargs):
            work = _Work(
                functools.partial(function, *args, **kwargs),
                find and functools.partial(find, *args, **kwargs),
                in_one_statement,
            )
            try:
                return _retrying(work.can_be_repeated, long_running)(work)
            except ERRORS as error:
                if work.in_doubt:
                    raise InDoubt(str(error)) from error
                raise

        return repeated

    return decorate


class _Work:
    def __init__(self, function: Callable[[], Any], find: Callable[[], Any] | None, in_one_statement: bool):
        self.function, self.find, self.in_one_statement = function, find, in_one_statement
        self.in_doubt = False

    def __call__(self) -> Any:
        if self.in_doubt and (found := self.find()) is not None:
            return found
        is_own_transaction = self.in_one_statement and not connection.in_atomic_block
        is_done = is_own_transaction  # its COMMIT is sent with it
        try:
            with nullcontext() if is_own_transaction else transaction.atomic(durable=True):
                result = self.function()
                is_done = True  # a later failure is a failure of COMMIT
        except IntegrityError:
            # The attempt in doubt was still being committed when `find` was called.
            if self.in_doubt and (found := self.find()) is not None:
                return found
            raise
        except ERRORS as error:
            self.in_doubt = self.in_doubt or (is_done and _began_with_a_loss(error))
            raise
        return result

    def can_be_repeated(self, error: BaseException) -> bool:
        return is_transient(error) and not (self.in_doubt and self.find is None)


def _began_with_a_loss(error: BaseException | None) -> bool:
    # After a failed COMMIT Django reconnects; if that fails too, its error hides the first one.
    while error is not None and outage(error) is not Outage.CONNECTION_LOST:
        error = error.__context__
    return error is not None


def is_transient(error: BaseException) -> bool:
    """Whether an attempt that failed with this error can be retried."""
    return outage(error) in (Outage.ROLLED_BACK, Outage.CONNECTION_LOST)


def _retrying(can_be_repeated: Callable[[BaseException], bool], long_running: bool) -> Retrying:
    if long_running:
        policy, retried = retry_policies.DATABASE_WORKER, can_be_repeated
    else:  # a request doesn't wait for a database that is known to be unavailable
        policy, retried = retry_policies.DATABASE_REQUEST, lambda error: not breaker.is_open and can_be_repeated(error)
    return policy.retrying(retry_if_exception(retried), before_sleep=_release_connection)


def _release_connection(state: RetryCallState) -> None:
    """Return the connection to the pool: it may be broken, and it is not needed during the pause."""
    connection.close()
    logger.info("Transient database error, retrying: %s", one_line(state.outcome.exception()))
