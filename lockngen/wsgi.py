import os

from django.core.wsgi import get_wsgi_application

from lockngen.web.chunked import ChunkedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")

application = ChunkedBodies(get_wsgi_application())
