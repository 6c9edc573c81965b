"""What pages of other origins may send and read, by the names of django-cors-headers' settings."""

CORS_ALLOW_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
STAINLESS_HEADERS = (  # of SDKs that Stainless has generated, such as OpenAI's
    "arch", "custom-poll-interval", "helper-method", "lang", "os", "package-version", "poll-helper", "retry-count",
    "runtime", "runtime-version", "timeout",
)  # fmt: skip
CORS_ALLOW_HEADERS = (
    "accept", "authorization", "cache-control", "content-type", "idempotency-key", "if-none-match", "last-event-id",
    "openai-organization", "openai-project", "prefer", "user-agent", "x-requested-with",
    *(f"x-stainless-{name}" for name in STAINLESS_HEADERS),
)  # fmt: skip
CORS_EXPOSE_HEADERS = (
    "Content-Disposition", "Content-Length", "ETag", "Idempotent-Replayed", "Location", "Preference-Applied",
    "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "WWW-Authenticate",
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-Id", "X-Should-Retry",
)  # fmt: skip
