# The one image of the web, the worker and the migrations; docker-compose.yml runs the three.

FROM python:3.11-slim-bookworm AS builder
# Without pip, which serves nobody in the finished image; this stage's own installs into it.
RUN python -m venv --without-pip /opt/venv
# Apart from the code, so that a change of code installs nothing anew.
COPY requirements.txt requirements-s3.txt /opt/
# Wheels alone: a package without one fails here instead of asking for a compiler.
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

# A fixed number, so that the files of a volume keep their owner from image to image. A new volume takes over the
# owner of the folder that it is mounted on.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel \
    && groupadd --gid 10001 lockngen \
    && useradd --uid 10001 --gid lockngen --no-create-home --shell /usr/sbin/nologin lockngen \
    && install --directory --owner lockngen --group lockngen /var/lib/lockngen /var/lib/lockngen/images

WORKDIR /app
COPY --from=builder /opt/venv /opt/venv
# .dockerignore says what there is to copy. It stays root's: the service can't change its own code.
COPY . .
# Readable to others, whatever umask the checkout was made with. The two settings exist for this line alone.
RUN chmod -R a+rX . \
    && SECRET_KEY=only-for-collectstatic-0123456789-0123456789-0123456789 DATABASE_URL=postgres://build@localhost/build \
    python manage.py collectstatic --noinput

# By number, so that whoever runs the image can tell that it isn't root.
USER 10001:10001
EXPOSE 8000
# The image has no curl. A proxy, which Docker may put into the environment, must not be asked for our own address.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['PORT'] or 8000}/ht/live\", timeout=3)"]
# As PID 1 a process ignores a SIGTERM for which it has no handler yet; dumb-init forwards it, and reaps orphans.
ENTRYPOINT ["dumb-init", "--single-child", "--"]
CMD ["gunicorn", "-c", "lockngen/web/gunicorn.py", "lockngen.wsgi"]
