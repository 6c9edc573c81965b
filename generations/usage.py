"""Reports generations as the usage of API keys."""

from datetime import UTC, date, datetime, timedelta

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.urls import reverse

from apikeys.models import ApiKey
from apikeys.usage_provider import UsageProvider
from generations.models import Generation
from generations.status import Status


class GenerationUsage(UsageProvider):
    """Counts live generations: those that the key's owner can list."""

    noun = "generations"

    def admin_address(self, key: ApiKey) -> str:
        return f"{reverse('admin:generations_generation_changelist')}?key={key.pk}"

    def unfinished(self, key: ApiKey) -> int:
        return Generation.objects.unfinished_of(key)

    def by_status(self, key: ApiKey) -> dict[str, int]:
        counted = Generation.objects.owned_by(key).values_list("status").annotate(Count("pk"))
        return {status.name.lower(): dict(counted).get(status, 0) for status in Status}

    def by_day(self, key: ApiKey, days: int) -> dict[date, int]:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        rows = Generation.objects.owned_by(key).created_since(today - timedelta(days=days - 1))
        return dict(rows.values_list(TruncDate("created_at")).annotate(Count("pk")).order_by())

    def cancel_pending(self, key: ApiKey) -> int:
        return Generation.objects.owned_by(key).pending().cancel()
