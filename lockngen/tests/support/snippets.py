"""The examples in the documentation, which tests run."""

import re

from lockngen.environment import BASE_DIR


def snippet(section: str, language: str, port: int, token: str) -> str:
    """The first example in this language in a section or subsection of docs/clients.md, for this server and key."""
    text = (BASE_DIR / "docs/clients.md").read_text()
    (found,) = re.findall(rf"^##+ {section}\n(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL)
    code = re.search(rf"^```{language}\n(.*?)^```", found, re.MULTILINE | re.DOTALL)[1]
    return code.replace("HOST:8000", f"127.0.0.1:{port}").replace("TOKEN", token)
