"""Settings, read from the environment alone. docs/configuration.md explains each of them."""

import os
import re
from datetime import timedelta
from urllib.parse import urlsplit

from apikeys.log_config import LOGGING  # noqa: F401
from lockngen import environment as env
from lockngen.web.cors import CORS_ALLOW_HEADERS, CORS_ALLOW_METHODS, CORS_EXPOSE_HEADERS  # noqa: F401

BASE_DIR = env.BASE_DIR

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret_key("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
PUBLIC_URL = env.url("PUBLIC_URL")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]") + env.hosts_of(PUBLIC_URL)
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS") + env.origins_of(PUBLIC_URL)
CSRF_FAILURE_VIEW = "lockngen.web.error_pages.csrf_failure"
# The proxy removes the path of PUBLIC_URL from requests; links and redirects begin with it.
PUBLIC_PATH = urlsplit(PUBLIC_URL).path
FORCE_SCRIPT_NAME = PUBLIC_PATH or None
HEALTH_TOKEN = env.secret("HEALTH_TOKEN")
HEALTH_STRICT_MIGRATIONS = env.flag("HEALTH_STRICT_MIGRATIONS")
TRUSTED_PROXIES = env.items("TRUSTED_PROXIES", "127.0.0.1,::1")

# Cookies require TLS if the public address has it.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
# A browser sends cookies to all ports of a host. Names and path keep them apart from those of other applications there.
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME, LANGUAGE_COOKIE_NAME = "lockngen_session", "lockngen_csrf", "lockngen_language"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = PUBLIC_PATH or "/"
SECURE_HSTS_SECONDS = 31_536_000 if PUBLIC_URL.startswith("https://") else 0

INSTALLED_APPS = [
    # Commands of the first app take precedence: lockngen's migrate and runserver, generations' procrastinate.
    "lockngen",
    "apikeys",
    "generations",
    "procrastinate.contrib.django",
    "ninja",  # serves the documentation page's assets from here, not from a CDN
    "corsheaders",
    "health_check",
    "axes",
    "csp",
    "django_htmx",
    "template_partials",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",  # first: every response gets its headers
    "csp.middleware.CSPMiddleware",
    "lockngen.web.hosts.ProbeHostMiddleware",  # before middleware that checks the host
    "corsheaders.middleware.CorsMiddleware",  # around all answers of the API, errors included
    "apikeys.rate_limit.headers.LimitHeadersMiddleware",  # outside middleware that may replace a response
    "lockngen.web.problems.ApiProblemsMiddleware",  # around all that can fail, so that the API has one error shape
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it replaces the response to a refused login
]

REDACT = "apikeys.tokens.redacted"  # removes tokens from the text of an error
# Browsers of other origins. A preflight is answered before anything else, so it needs no key and isn't counted.
CORS_ALLOWED_ORIGINS = env.items("CORS_ALLOWED_ORIGINS")
# Of the native API and of the dialects. Those after the first line are for base URLs without a path.
API_PATHS = (
    "/api/", "/v1/", "/sdapi/v1/", "/replicate/",
    "/predictions/", "/models/", "/account/", "/webhooks/", "/files/",
    "/collections/", "/deployments/", "/hardware/", "/trainings/",
    "/images/",
)  # fmt: skip
CORS_URLS_REGEX = rf"^({'|'.join(path.rstrip('/') for path in API_PATHS)})(/|$)"

ROOT_URLCONF = "lockngen.urls"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes; the API answers 413 beyond it
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100  # the maximum of rows of an admin action, and its own fields

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
]

# Database. Times are seconds here and in the environment; PostgreSQL's options take milliseconds.
DB_POOL_MIN_SIZE = env.integer("DB_POOL_MIN_SIZE", 1)
DB_POOL_MAX_SIZE = env.integer("DB_POOL_MAX_SIZE", 4, minimum=1)
DB_POOL_TIMEOUT = env.seconds("DB_POOL_TIMEOUT", 5, minimum=0.1)
DB_CONNECT_TIMEOUT = env.integer("DB_CONNECT_TIMEOUT", 5, minimum=2)
DB_STATEMENT_TIMEOUT = env.seconds("DB_STATEMENT_TIMEOUT", 30)
DB_LOCK_TIMEOUT = env.seconds("DB_LOCK_TIMEOUT", 10)
DB_IDLE_IN_TRANSACTION_TIMEOUT = env.seconds("DB_IDLE_IN_TRANSACTION_TIMEOUT", 60)
DB_RETRY_ATTEMPTS = env.integer("DB_RETRY_ATTEMPTS", 5, minimum=1)
DB_RETRY_BACKOFF = env.seconds("DB_RETRY_BACKOFF", 0.1)
DB_RETRY_TIMEOUT = env.seconds("DB_RETRY_TIMEOUT", 5)
DB_WORKER_RETRY_TIMEOUT = env.seconds("DB_WORKER_RETRY_TIMEOUT", 120)
DB_STARTUP_TIMEOUT = env.seconds("DB_STARTUP_TIMEOUT", 30)
DB_PGBOUNCER = env.flag("DB_PGBOUNCER")
DB_PREPARE_THRESHOLD = env.integer("DB_PREPARE_THRESHOLD", 0 if DB_PGBOUNCER else 5)

_database = env.database()
_timeouts = {  # milliseconds
    "statement_timeout": round(1000 * DB_STATEMENT_TIMEOUT),
    "lock_timeout": round(1000 * DB_LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": round(1000 * DB_IDLE_IN_TRANSACTION_TIMEOUT),
}
_set_by_url = _database["OPTIONS"].get("options", "")
DB_TIMEOUTS = {name: value for name, value in _timeouts.items() if not re.search(rf"\b{name}\b", _set_by_url)}


def _options(given: dict, startup: dict[str, int]) -> dict:
    """How to connect. Options in a URL's query take precedence."""
    ours = {
        "connect_timeout": DB_CONNECT_TIMEOUT,
        "application_name": "lockngen",
        # A peer that vanished is detected within seconds, not within minutes or hours.
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,  # milliseconds
        "prepare_threshold": DB_PREPARE_THRESHOLD or None,
    }
    startup_options = [*(f"-c {name}={value}" for name, value in startup.items()), given.get("options", "")]
    return {**ours, **given, "options": " ".join(startup_options).strip()}


DATABASES = {
    "default": {
        **_database,
        "CONN_MAX_AGE": 0,  # connections belong to the pool, not to threads
        "DISABLE_SERVER_SIDE_CURSORS": DB_PGBOUNCER,  # the next transaction may run in another session
        "OPTIONS": {
            # PgBouncer refuses startup options: behind it the timeouts are the role's, see database/timeouts.py.
            **_options(_database["OPTIONS"], {} if DB_PGBOUNCER else DB_TIMEOUTS),
            "pool": {
                "min_size": DB_POOL_MIN_SIZE,
                "max_size": DB_POOL_MAX_SIZE,
                "timeout": DB_POOL_TIMEOUT,
                # The pool tries to connect for as long as a client waits for a connection.
                "reconnect_timeout": DB_POOL_TIMEOUT,
            },
        },
    }
}
# The server itself, not PgBouncer, for features that need a session: see database/direct.py.
DATABASE_DIRECT = env.database("DATABASE_DIRECT_URL") if env.secret("DATABASE_DIRECT_URL") else {}
if DATABASE_DIRECT:
    DATABASE_DIRECT["OPTIONS"] = _options(DATABASE_DIRECT["OPTIONS"], DB_TIMEOUTS)
AUTO_MIGRATE = env.flag("AUTO_MIGRATE", DEBUG)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Rendering
RENDERER_URL = env.items("RENDERER_URL", "sketch:")
COMFYUI_AUTHORIZATION = env.secret("COMFYUI_AUTHORIZATION")
OPENAI_RENDERER_KEY = env.secret("OPENAI_RENDERER_KEY")
WORKFLOWS_DIR = env.text("WORKFLOWS_DIR") and str(BASE_DIR / env.text("WORKFLOWS_DIR"))
DEFAULT_WORKFLOW = env.text("DEFAULT_WORKFLOW", "sdxl")
MODEL_ALIASES = env.pairs(
    "MODEL_ALIASES",
    "dall-e-2=default,dall-e-3=default,gpt-image-1=default,gpt-image-1-mini=default,gpt-image-1.5=default",
)
RENDER_MAX_ATTEMPTS = env.integer("RENDER_MAX_ATTEMPTS", 3, minimum=1)
RENDER_TIMEOUT = env.seconds("RENDER_TIMEOUT", 600, minimum=1)
RENDER_GRACE = env.seconds("RENDER_GRACE", 8)
# The queue runs tasks in asyncio's default executor, which has at most this many threads.
MAX_CONCURRENT_RENDERS = min(32, (os.cpu_count() or 1) + 4)
WORKER_CONCURRENCY = env.integer("WORKER_CONCURRENCY", min(2 * len(RENDERER_URL), MAX_CONCURRENT_RENDERS), minimum=1)
PROCRASTINATE_WORKER_DEFAULTS = {"concurrency": WORKER_CONCURRENCY, "shutdown_graceful_timeout": RENDER_GRACE}
PROCRASTINATE_ON_APP_READY = "lockngen.queue.use_connector"

# Days for which generations are kept; 0 keeps them forever.
RETENTION_FINISHED = env.integer("RETENTION_FINISHED", 0, maximum=36_500)
RETENTION_DELETED = env.integer("RETENTION_DELETED", 0, maximum=36_500)
RETENTION_WEBHOOKS = env.integer("RETENTION_WEBHOOKS", 30, maximum=36_500)  # of deliveries

# Webhooks
WEBHOOK_ALLOWED_HOSTS = env.items("WEBHOOK_ALLOWED_HOSTS")
WEBHOOK_CONCURRENCY = env.integer("WEBHOOK_CONCURRENCY", 20, minimum=1, maximum=100)
WEBHOOK_TIMEOUT = env.seconds("WEBHOOK_TIMEOUT", 10, minimum=1)

# Web
WEB_WORKERS = env.integer("WEB_WORKERS", 2, minimum=1)
WEB_THREADS = env.integer("WEB_THREADS", 4, minimum=1)
WEB_CONNECTIONS = env.integer("WEB_CONNECTIONS", 10_000, minimum=10)
WEB_WAITING = env.integer("WEB_WAITING", 2000)
WEB_MAX_WAIT = env.integer("WEB_MAX_WAIT", 60, minimum=1, maximum=3600)
DIALECT_MAX_WAIT = env.integer("DIALECT_MAX_WAIT", 570, minimum=1, maximum=840)
WEB_WAITING_PER_KEY = env.integer("WEB_WAITING_PER_KEY", 100)
WEB_DOWNLOADS_PER_KEY = env.integer("WEB_DOWNLOADS_PER_KEY", 20, minimum=1)
SIGNED_URL_LIFETIME = env.integer("SIGNED_URL_LIFETIME", 3600, minimum=60, maximum=604_800)

# Files
STATIC_URL = f"{PUBLIC_PATH}/static/"
STATIC_ROOT = BASE_DIR / "static"
MEDIA_ROOT = BASE_DIR / env.text("MEDIA_ROOT", str(env.data_folder() / "images"))
IMAGE_METADATA = env.flag("IMAGE_METADATA", True)
STORAGE_RETRY_TIMEOUT = env.seconds("STORAGE_RETRY_TIMEOUT", 60)
S3_BUCKET = env.text("S3_BUCKET")
S3_PREFIX = env.text("S3_PREFIX").strip("/")
S3_REGION = env.text("S3_REGION")
S3_ENDPOINT_URL = env.url("S3_ENDPOINT_URL")
S3_PUBLIC_ENDPOINT_URL = env.url("S3_PUBLIC_ENDPOINT_URL")
S3_ADDRESSING_STYLE = env.text("S3_ADDRESSING_STYLE", "auto")
S3_ACCESS_KEY_ID = env.text("S3_ACCESS_KEY_ID")
S3_SECRET_ACCESS_KEY = env.secret("S3_SECRET_ACCESS_KEY")
S3_URL_LIFETIME = env.integer("S3_URL_LIFETIME", 300, minimum=10, maximum=604_800)
WHITENOISE_STATIC_PREFIX = "/static/"
WHITENOISE_USE_FINDERS = DEBUG  # a development checkout needs no collectstatic
IMAGE_FILE_MODE = env.file_mode("IMAGE_FILE_MODE", 0o600)
IMAGE_FOLDER_MODE = env.folder_mode("IMAGE_FOLDER_MODE", 0o700)
_folder = {
    "BACKEND": "lockngen.storage.filesystem.DurableFileSystemStorage",
    "OPTIONS": {"file_permissions_mode": IMAGE_FILE_MODE, "directory_permissions_mode": IMAGE_FOLDER_MODE},
}
STORAGES = {
    "default": {"BACKEND": "lockngen.storage.s3.S3ImageStorage"} if S3_BUCKET else _folder,
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# What pages may load. The admin shows images by a redirect to the storage where that is S3.
_s3_origin = re.match(r"https?://[^/]+", S3_PUBLIC_ENDPOINT_URL or S3_ENDPOINT_URL)
_image_sources = [_s3_origin[0] if _s3_origin else "https://*.amazonaws.com"] if S3_BUCKET else []
if _s3_origin and S3_ADDRESSING_STYLE == "virtual":
    _image_sources.append(_s3_origin[0].replace("://", f"://{S3_BUCKET}."))
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],  # the health page and the API's documentation have inline styles
        "img-src": ["'self'", "data:", "blob:", *_image_sources],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# Logins to the admin. Failures are counted in the database, so the limit holds across processes. One address and one
# name share a count: this locks out neither a proxy's other users nor the owner of a name that others try.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = env.integer("LOGIN_MAX_FAILURES", 10, minimum=1)
AXES_COOLOFF_TIME = timedelta(seconds=env.seconds("LOGIN_LOCKOUT", 900, minimum=1))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "lockngen.web.proxies.client_address"
AXES_USERNAME_CALLABLE = "lockngen.login.counted_name"
AXES_LOCKOUT_CALLABLE = "lockngen.web.error_pages.locked_out"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # attempts during a lockout do not extend it
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LOGIN_REDIRECT_URL = "admin:index"  # of a login with a `next` that is another site's

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # of the studio; the admin is in English
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds
LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE = True, "Lax"
TIME_ZONE = "UTC"

GUNICORN_LOGGER = "apikeys.logs.GunicornLogger"  # removes tokens, as the formatter of LOGGING does
