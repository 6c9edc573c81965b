"""Settings of the storage in S3 that can't work."""

from collections.abc import Iterator
from importlib.util import find_spec

from django.conf import settings
from django.core import checks

ADDRESSING_STYLES = ("auto", "path", "virtual")


@checks.register
def s3_packages_are_installed(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.S3_BUCKET and not (find_spec("storages") and find_spec("boto3")):
        yield checks.Error(
            "S3_BUCKET is set, and the packages for it are not installed.",
            hint="Run pip install -r requirements-s3.txt, or unset S3_BUCKET to keep images in MEDIA_ROOT.",
            id="lockngen.E010",
        )


@checks.register
def s3_credentials_are_whole(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if bool(settings.S3_ACCESS_KEY_ID) != bool(settings.S3_SECRET_ACCESS_KEY):
        yield checks.Error(
            "One of S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY is set without the other.",
            hint="Set both, or neither if the machine has a role.",
            id="lockngen.E011",
        )


@checks.register
def s3_addressing_style_is_known(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.S3_ADDRESSING_STYLE not in ADDRESSING_STYLES:
        yield checks.Error(
            f"S3_ADDRESSING_STYLE is {settings.S3_ADDRESSING_STYLE!r}.",
            hint=f"It takes {', '.join(ADDRESSING_STYLES)}; MinIO needs path.",
            id="lockngen.E012",
        )


@checks.register
def s3_bucket_can_be_found(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    if settings.S3_BUCKET and not (settings.S3_ENDPOINT_URL or settings.S3_REGION):
        yield checks.Error(
            "S3_BUCKET is set without S3_REGION or S3_ENDPOINT_URL.",
            hint="Set S3_REGION to the bucket's region at AWS, or S3_ENDPOINT_URL to the server that has it.",
            id="lockngen.E013",
        )


@checks.register
def s3_settings_have_a_bucket(app_configs, **kwargs) -> Iterator[checks.CheckMessage]:
    names = ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_PREFIX")
    given = [name for name in names if getattr(settings, name)]
    if given and not settings.S3_BUCKET:
        yield checks.Warning(
            f"{', '.join(given)}: without S3_BUCKET, images are kept in MEDIA_ROOT.",
            hint="Set S3_BUCKET, or unset the rest.",
            id="lockngen.W003",
        )
