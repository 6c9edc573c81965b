from django.db import models


class Pebble(models.Model):
    weight = models.IntegerField(db_default=1)

    class Meta:
        indexes = [models.Index("weight", name="pebble_by_weight")]

    def __str__(self) -> str:
        return f"{self.weight} g"
