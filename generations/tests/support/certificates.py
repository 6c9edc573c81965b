"""Self-signed certificates, made by the program openssl."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str) -> Path:
    """A file with the certificate of a host name and its key."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
    options += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate
