"""Logging without tokens and URL signatures, even if a URL, a header or an error contains one."""

import logging
import os
import re

from gunicorn.glogging import Logger

from apikeys import tokens
from lockngen import environment as env

JOB_ACTIONS = {"start_job", "job_success", "job_aborted", "job_aborted_retry"}

_SIGNATURE = re.compile(r"\b(signature=)[^&\s\"']+")


class TokenFreeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SIGNATURE.sub(r"\1…", tokens.redacted(super().format(record)))


class GunicornLogger(Logger):
    """The server's log and, if it is enabled, the access log."""

    def setup(self, cfg) -> None:
        super().setup(cfg)
        for handler in [*self.error_log.handlers, *self.access_log.handlers]:
            # Upstream would have to offer: a setting for the class of its formatters.
            handler.setFormatter(TokenFreeFormatter(handler.formatter._fmt, handler.formatter.datefmt))

    @property
    def access_log_enabled(self) -> bool:
        return env.SHOW_REQUESTS in os.environ or super().access_log_enabled

    def access(self, resp, req, environ, request_time) -> None:
        if env.SHOW_REQUESTS not in os.environ:
            super().access(resp, req, environ, request_time)
        elif not req.path.startswith("/ht/"):  # probes are frequent
            milliseconds = request_time.seconds * 1000 + request_time.microseconds / 1000
            self.info("%s %s %s, %.0f ms", req.method, req.path, resp.status, milliseconds)


class JobFilter(logging.Filter):
    """Hides the queue's lines about jobs that start and end, or are retried as planned, unless the level is DEBUG.

    Most jobs are housekeeping, and a job that stored a generation's failure is logged as a "Success". Failed jobs are
    logged as errors.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        is_retry = record.exc_info and getattr(record.exc_info[1], "is_routine", False)
        is_routine = record.levelno == logging.INFO and (getattr(record, "action", "") in JOB_ACTIONS or is_retry)
        return not is_routine or logging.getLogger().isEnabledFor(logging.DEBUG)
