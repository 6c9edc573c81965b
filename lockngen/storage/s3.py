"""Images in S3, or in a compatible storage. Needs the packages of requirements-s3.txt."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.conf import settings
from storages.backends.s3 import S3Storage
from storages.utils import clean_name, safe_join

from lockngen import addresses
from lockngen.retry_policies import S3_CALL

# Bytes. An image is uploaded in one request, so that a killed worker leaves no incomplete multipart upload.
LARGEST_PUT = 1024**3


class S3ImageStorage(S3Storage):
    """Files in the bucket S3_BUCKET, served by signed addresses. Saving a file under an existing name replaces it."""

    def get_default_settings(self) -> dict[str, Any]:
        return {
            **super().get_default_settings(),
            **_credentials(),
            "bucket_name": settings.S3_BUCKET,
            "location": settings.S3_PREFIX,
            "endpoint_url": settings.S3_ENDPOINT_URL or None,
            "region_name": settings.S3_REGION or "us-east-1",  # most servers other than AWS accept or ignore it
            "file_overwrite": True,
            "transfer_config": TransferConfig(multipart_threshold=LARGEST_PUT),
            "client_config": _config(settings.S3_ENDPOINT_URL),
        }

    def signed_url(self, name: str, *, method: str, content_type: str, cache_control: str) -> str:
        """An address that gives access to this file, by this method, for S3_URL_LIFETIME.

        It is signed without a request, so the file may not exist.
        """
        headers = {"ContentType": content_type, "ContentDisposition": "inline", "CacheControl": cache_control}
        return self._public_client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket_name,
                "Key": self._object_key(name),
                **{f"Response{header}": value for header, value in headers.items()},
            },
            ExpiresIn=settings.S3_URL_LIFETIME,
            HttpMethod=method,
        )

    def scan(self, folder: str) -> Iterator[tuple[str, bool]]:
        """The names in a folder, and whether each is a folder. Reads the listing page by page."""
        prefix = self._object_key(folder) + "/"
        pages = self.connection.meta.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket_name, Delimiter="/", Prefix=prefix):
            yield from ((entry["Prefix"][len(prefix) : -1], True) for entry in page.get("CommonPrefixes", ()))
            yield from ((entry["Key"][len(prefix) :], False) for entry in page.get("Contents", ()))

    def _object_key(self, name: str) -> str:
        return safe_join(self.location, clean_name(name))

    @cached_property
    def _public_client(self):
        """Signs for the address that clients use, as the signature includes the host."""
        endpoint = settings.S3_PUBLIC_ENDPOINT_URL or settings.S3_ENDPOINT_URL
        session = boto3.Session(
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            aws_session_token=self.security_token,
            profile_name=self.session_profile,
        )
        return session.client(
            "s3", region_name=self.region_name, endpoint_url=endpoint or None, config=_config(endpoint)
        )


def _credentials() -> dict[str, str | None]:
    """Those of the settings. Without them boto3 uses the environment, its files or the machine's role."""
    if not settings.S3_ACCESS_KEY_ID:
        return {}
    return {
        "access_key": settings.S3_ACCESS_KEY_ID,
        "secret_key": settings.S3_SECRET_ACCESS_KEY,
        "security_token": None,
        "session_profile": None,
    }


def _config(endpoint: str) -> Config:
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": settings.S3_ADDRESSING_STYLE},
        connect_timeout=5,  # seconds
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": S3_CALL.attempts},
        # Servers other than AWS may not support checksums beyond TLS's own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={} if _is_local(endpoint) else None,  # a proxy can't reach this machine's loopback address
    )


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    address = addresses.address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
