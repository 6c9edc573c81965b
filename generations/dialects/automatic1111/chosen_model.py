"""The option `sd_model_checkpoint`, which applies to one key's calls and not to the whole server."""

from django.db import models

from apikeys.models import ApiKey


class ChosenModel(models.Model):
    """The model of a key's txt2img calls that name none."""

    api_key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True, related_name="+")
    model = models.CharField(max_length=100)  # as a generation's

    def __str__(self) -> str:
        return f"{self.model} for {self.api_key_id}"

    @classmethod
    def of(cls, key: ApiKey) -> str | None:
        """The choice of the key, or of the latest key that it replaced and that made one."""
        chosen = cls.objects.filter(api_key__in=key.lineage).order_by("-api_key__created_at")
        return chosen.values_list("model", flat=True).first()

    @classmethod
    def choose(cls, key: ApiKey, model: str) -> None:
        cls.objects.update_or_create(api_key=key, defaults={"model": model})
