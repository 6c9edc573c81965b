"""Waiting for the database when a process starts."""

import logging

import psycopg
from django.conf import settings
from django.db import connection
from tenacity import RetryCallState, retry_if_exception_type

from lockngen import retry_policies
from lockngen.database import preconditions

logger = logging.getLogger(__name__)


def wait_for_database() -> bool:
    """Wait up to DB_STARTUP_TIMEOUT for the server to accept a connection; return whether it did. Logs the wait once.

    It does not use the pool, which is opened only in processes that serve requests.
    """
    retrying = retry_policies.DATABASE_STARTUP.retrying(
        retry_if_exception_type(psycopg.OperationalError), before_sleep=_log_first_failure
    )
    try:
        retrying(_connect)
    except psycopg.OperationalError:
        return False
    return True


def _connect() -> None:
    try:
        with psycopg.connect(**connection.get_connection_params()) as probe:
            preconditions.refuse_encoding(probe)  # runs a statement: PgBouncer accepts connections without a server
    except psycopg.OperationalError as error:
        preconditions.refuse_startup_options(error)
        raise


def _log_first_failure(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        reason = preconditions.with_remedy(state.outcome.exception())
        logger.warning("Waiting up to %g s for the database: %s", settings.DB_STARTUP_TIMEOUT, reason)
