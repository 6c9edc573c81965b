# The image of the web, the worker and the migrations; docker-compose.yml runs all three.

FROM python:3.11-slim-bookworm AS builder
# Without pip, which the final image doesn't need; this stage's pip installs into it.
RUN python -m venv --without-pip /opt/venv
# Separate from the code, so that a change of code doesn't reinstall the packages.
COPY requirements.txt requirements-s3.txt /opt/
# Wheels only: a package without one fails here instead of requiring a compiler.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --only-binary :all: \
    -r /opt/requirements-s3.txt dumb-init==1.2.5.post1

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="LockN Gen" \
    org.opencontainers.image.description="Image generation with persistence, a queue and API keys on PostgreSQL" \
    org.opencontainers.image.version="0.1.0"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BIND=0.0.0.0 \
    PORT=8000 \
    LOCKNGEN_DATA=/var/lib/lockngen

# A fixed id, so that the files of a volume keep their owner in later images. A new volume gets the owner of the
# folder that it is mounted on.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel \
    && groupadd --gid 10001 lockngen \
    && useradd --uid 10001 --gid lockngen --no-create-home --shell /usr/sbin/nologin lockngen \
    && install --directory --owner lockngen --group lockngen /var/lib/lockngen /var/lib/lockngen/images

WORKDIR /app
COPY --from=builder /opt/venv /opt/venv
# .dockerignore selects the files. They belong to root: the service can't change its own code.
COPY . .
# Readable by others, whatever the umask of the checkout. The two settings apply to this command only.
RUN chmod -R a+rX . \
    && SECRET_KEY=only-for-collectstatic-0123456789-0123456789-0123456789 DATABASE_URL=postgres://build@localhost/build \
    python manage.py collectstatic --noinput

# By number, so that container platforms can verify that it isn't root.
USER 10001:10001
EXPOSE 8000
# The image has no curl. Docker may set a proxy in the environment, which must not be used for the local address.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['PORT'] or 8000}/ht/live\", timeout=3)"]
# PID 1 ignores SIGTERM until it has a handler for it; dumb-init forwards the signal and reaps orphans.
ENTRYPOINT ["dumb-init", "--single-child", "--"]
CMD ["gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.asgi"]
