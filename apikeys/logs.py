"""Logs that hold no token and no signature of an address, also where an address, a header or an error contains one."""

import logging
import re

from gunicorn.glogging import Logger

from apikeys import tokens

_SIGNATURE = re.compile(r"\b(signature=)[^&\s\"']+")


class TokenFreeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SIGNATURE.sub(r"\1…", tokens.redacted(super().format(record)))


class GunicornLogger(Logger):
    """Of the server's own log and, where one is asked for, the access log."""

    def setup(self, cfg) -> None:
        super().setup(cfg)
        for handler in [*self.error_log.handlers, *self.access_log.handlers]:
            was = handler.formatter
            handler.setFormatter(TokenFreeFormatter(was._fmt, was.datefmt))
