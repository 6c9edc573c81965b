"""Django's LOGGING: one line per record on standard error, without tokens."""

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "apikeys.logs.TokenFreeFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "filters": {"jobs": {"()": "apikeys.logs.JobFilter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["jobs"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Django's own handlers would print each line a second time.
        **{name: {"handlers": [], "propagate": True} for name in ("django", "django.server")},
        # Only what happens to jobs: every command would log that tasks are registered.
        "procrastinate": {"level": "WARNING"},
        "procrastinate.worker": {"level": "INFO"},
        # A pool logs each failed attempt to connect. Code that waits for a connection logs the failure once.
        "psycopg.pool": {"level": "ERROR"},
        # These would log each call to a renderer and, at a lower level, its secret.
        **{name: {"level": "WARNING"} for name in ("httpx", "httpcore", "websockets", "botocore")},
        # lockngen.login logs failed logins, with names that are safe to print.
        "axes": {"level": "ERROR"},
    },
}
