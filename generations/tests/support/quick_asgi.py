"""The web's application, which reads the rows of waiting calls more often."""

from lockngen.asgi import application  # noqa: F401, I001  first, as it sets up Django

from generations.api import waiting

waiting.READ_INTERVAL = 1.5  # seconds: more than tests expect between an event and a response
