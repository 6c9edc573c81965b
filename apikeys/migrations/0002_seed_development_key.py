"""Seed the key that development machines share, where DEBUG is on.

The row is written out, because the models change and a migration must not.
"""

from django.conf import settings
from django.db import IntegrityError, migrations, transaction

KEY_HASH = "6ec72252bf49381dff692804709108534c5035a9a262d514910b2e927c0a8333"
ROW = {
    "prefix": "lg_test_LockNG",
    "name": "Development",
    "rate_limit": 0,
    "is_active": True,
    "expires_at": None,
    "revoked_at": None,
    "is_deleted": False,
    "deleted_at": None,
}


def seed(apps, schema_editor):
    if settings.DEBUG:
        keys = apps.get_model("apikeys", "ApiKey").objects.using(schema_editor.connection.alias)
        keys.update_or_create(key_hash=KEY_HASH, defaults=ROW)


def remove_unreferenced(apps, schema_editor):
    """Remove the key, unless something refers to it: then it stays, and a later seed updates it."""
    connection = schema_editor.connection
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            # By default foreign keys are checked at the end of the transaction, where the error can't be caught.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("DELETE FROM apikeys_apikey WHERE key_hash = %s", [KEY_HASH])
    except IntegrityError:
        pass


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0001_initial")]

    operations = [migrations.RunPython(seed, remove_unreferenced)]
