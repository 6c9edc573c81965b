"""The renderer that drives a server with OpenAI's images API."""
