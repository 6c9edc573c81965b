"""Logs that hold no token, whoever put one where it doesn't belong: an address, a header, an error's text."""

import logging

from gunicorn.glogging import Logger

from apikeys import tokens


class TokenFreeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return tokens.redacted(super().format(record))


class GunicornLogger(Logger):
    """Of the server's own log and, where one is asked for, the access log."""

    def setup(self, cfg) -> None:
        super().setup(cfg)
        for handler in [*self.error_log.handlers, *self.access_log.handlers]:
            was = handler.formatter
            handler.setFormatter(TokenFreeFormatter(was._fmt, was.datefmt))
