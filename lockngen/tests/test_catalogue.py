"""The tables as PostgreSQL's catalogue describes them, not the models."""

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db

COLUMNS = {
    "apikeys_apikey": {
        "id": ("uuid", True),
        "key_hash": ("character(64)", True),
        "prefix": ("character varying(20)", True),
        "name": ("character varying(100)", True),
        "rate_limit": ("integer", True),
        "priority": ("integer", True),
        "max_pending": ("integer", True),
        "is_active": ("boolean", True),
        "created_at": ("timestamp with time zone", True),
        "expires_at": ("timestamp with time zone", False),
        "last_used_at": ("timestamp with time zone", False),
        "revoked_at": ("timestamp with time zone", False),
        "rotated_from_id": ("uuid", False),
        "is_deleted": ("boolean", True),
        "deleted_at": ("timestamp with time zone", False),
    },
    "apikeys_bucket": {
        "key_id": ("uuid", True),
        "spent": ("bigint", True),
        "is_admitted": ("boolean", True),
        "measured_at": ("timestamp with time zone", True),
    },
    "apikeys_keyevent": {
        "id": ("bigint", True),
        "key_id": ("uuid", True),
        "prefix": ("character varying(20)", True),
        "name": ("character varying(100)", True),
        "action": ("character varying(20)", True),
        "changes": ("jsonb", True),
        "via": ("character varying(10)", True),
        "actor": ("character varying(150)", True),
        "user_id": ("bigint", False),
        "at": ("timestamp with time zone", True),
    },
    "generations_generation": {
        "id": ("uuid", True),
        "api_key_id": ("uuid", True),
        "prompt": ("character varying(2000)", True),
        "negative_prompt": ("character varying(2000)", True),
        "model": ("character varying(100)", True),
        "width": ("integer", True),
        "height": ("integer", True),
        "steps": ("integer", True),
        "guidance": ("double precision", True),
        "seed": ("bigint", False),
        "status": ("integer", True),
        "image_path": ("character varying(500)", False),
        "thumbnail_path": ("character varying(500)", False),
        "image_width": ("integer", False),
        "image_height": ("integer", False),
        "image_bytes": ("integer", False),
        "image_type": ("character varying(50)", False),
        "image_sha256": ("character(64)", False),
        "image_placeholder": ("character varying(1000)", False),
        "error_message": ("character varying(1000)", False),
        "attempts": ("integer", True),
        "releases": ("integer", True),
        "created_at": ("timestamp with time zone", True),
        "started_at": ("timestamp with time zone", False),
        "completed_at": ("timestamp with time zone", False),
        "is_deleted": ("boolean", True),
        "deleted_at": ("timestamp with time zone", False),
        "output_format": ("character varying(4)", False),
        "quality": ("integer", False),
        "keep_metadata": ("boolean", False),
        "submission_id": ("bigint", False),
        "labels": ("jsonb", True),
    },
    "generations_chosenmodel": {"api_key_id": ("uuid", True), "model": ("character varying(100)", True)},
    "generations_submission": {
        "id": ("bigint", True),
        "api_key_id": ("uuid", True),
        "key": ("character varying(255)", False),
        "body_sha256": ("character(64)", True),
        "created_at": ("timestamp with time zone", True),
        "webhook": ("character varying(2000)", False),
        "webhook_events": ("character varying(9)[]", False),
        "interface": ("character varying(20)", False),
        "base_url": ("character varying(500)", False),
    },
    "generations_webhookdelivery": {
        "id": ("uuid", True),
        "generation_id": ("uuid", True),
        "event": ("character varying(9)", True),
        "state": ("integer", True),
        "attempts": ("integer", True),
        "earlier_attempts": ("integer", True),
        "next_attempt_at": ("timestamp with time zone", False),
        "last_status": ("integer", False),
        "last_error": ("character varying(200)", False),
        "created_at": ("timestamp with time zone", True),
        "ended_at": ("timestamp with time zone", False),
    },
    "generations_webhooksecret": {
        "api_key_id": ("uuid", True),
        "secret": ("character varying(60)", True),
        "previous": ("character varying(60)", False),
        "created_at": ("timestamp with time zone", True),
        "rotated_at": ("timestamp with time zone", False),
    },
    "generations_turn": {
        "api_key_id": ("uuid", True),
        "taken": ("bigint", True),
        "taken_at": ("timestamp with time zone", True),
        "started": ("bigint", False),
    },
    "generations_discardedfile": {
        "id": ("bigint", True),
        "path": ("character varying(500)", True),
        "discarded_at": ("timestamp with time zone", True),
    },
}
CHECKS = {
    "apikeys_apikey": {
        "apikey_key_hash_is_sha256",
        "apikey_rate_limit_not_negative",
        "apikey_priority_is_in_range",
        "apikey_max_pending_not_negative",
        "apikey_deletion_is_dated",
    },
    "apikeys_bucket": set(),
    "apikeys_keyevent": set(),
    "generations_generation": {
        "generation_status_is_known",
        "generation_end_is_dated",
        "generation_completed_has_image",
        "generation_image_facts_are_whole",
        "generation_image_facts_are_sound",
        "generation_failed_has_error",
        "generation_sizes_are_positive",
        "generation_attempts_are_counted",
        "generation_deletion_is_dated",
        "generation_output_format_is_known",
        "generation_quality_is_in_range",
        "generation_labels_are_an_object",
    },
    "generations_chosenmodel": set(),
    "generations_submission": {"submission_webhook_is_whole"},
    "generations_webhookdelivery": {
        "webhookdelivery_event_is_known",
        "webhookdelivery_end_is_dated",
        "webhookdelivery_attempts_are_counted",
    },
    "generations_webhooksecret": {"webhooksecret_rotation_is_dated"},
    "generations_turn": set(),
    "generations_discardedfile": set(),
}
INDEXES = {
    "apikeys_apikey": {
        "apikeys_apikey_pkey": "UNIQUE btree (id)",
        "apikey_key_hash_unique": "UNIQUE btree (key_hash)",
        "apikey_prefix": "btree (prefix varchar_pattern_ops)",
        "apikey_rotated_from_unique": "UNIQUE btree (rotated_from_id)",
    },
    "apikeys_keyevent": {
        "apikeys_keyevent_pkey": "UNIQUE btree (id)",
        "keyevent_by_key": "btree (key_id, id DESC)",
    },
    "apikeys_bucket": {"apikeys_bucket_pkey": "UNIQUE btree (key_id)"},
    "generations_generation": {
        "generations_generation_pkey": "UNIQUE btree (id)",
        "generation_live_by_key": "btree (api_key_id, id DESC) WHERE (NOT is_deleted)",
        "generation_live_by_status": "btree (api_key_id, status, id DESC) WHERE (NOT is_deleted)",
        "generation_by_status": "btree (status, id DESC)",
        "generation_deleted": "btree (id DESC) WHERE is_deleted",
        "generation_by_key": "btree (api_key_id)",
        "generation_completed_at": "btree (completed_at) WHERE (completed_at IS NOT NULL)",
        "generation_prompt_words": "gin (to_tsvector('simple'::regconfig, "
        "(COALESCE(prompt, ''::character varying))::text))",
        "generation_deleted_at": "btree (deleted_at) WHERE is_deleted",
        "generation_labels": "gin (labels jsonb_path_ops)",
        "generation_by_submission": "btree (submission_id) WHERE (submission_id IS NOT NULL)",
    },
    "generations_chosenmodel": {"generations_chosenmodel_pkey": "UNIQUE btree (api_key_id)"},
    "generations_submission": {
        "generations_submission_pkey": "UNIQUE btree (id)",
        "submission_key_unique": "UNIQUE btree (api_key_id, key)",
        "submission_by_body": "btree (api_key_id, body_sha256, id) WHERE (key IS NULL)",
    },
    "generations_webhookdelivery": {
        "generations_webhookdelivery_pkey": "UNIQUE btree (id)",
        "webhookdelivery_event_unique": "UNIQUE btree (generation_id, event)",
        "webhookdelivery_pending": "btree (next_attempt_at) WHERE (state = 0)",
        "webhookdelivery_failed": "btree (ended_at DESC) WHERE (state = 2)",
        "webhookdelivery_ended_at": "btree (ended_at) WHERE (ended_at IS NOT NULL)",
    },
    "generations_webhooksecret": {"generations_webhooksecret_pkey": "UNIQUE btree (api_key_id)"},
    "generations_turn": {
        "generations_turn_pkey": "UNIQUE btree (api_key_id)",
        "turn_started": "btree (started)",
    },
    "generations_discardedfile": {"generations_discardedfile_pkey": "UNIQUE btree (id)"},
}
DEFAULTS = {
    "apikeys_apikey": {
        "rate_limit": "100",
        "priority": "1",
        "max_pending": "0",
        "is_active": "true",
        "created_at": "statement_timestamp()",
        "is_deleted": "false",
    },
    "apikeys_bucket": {},
    "apikeys_keyevent": {"changes": "'{}'::jsonb", "at": "statement_timestamp()"},
    "generations_generation": {
        "negative_prompt": "''::character varying",
        "model": "'default'::character varying",
        "width": "512",
        "height": "512",
        "steps": "30",
        "guidance": "7.0",
        "status": "0",
        "attempts": "0",
        "releases": "0",
        "created_at": "statement_timestamp()",
        "is_deleted": "false",
        "labels": "'{}'::jsonb",
    },
    "generations_chosenmodel": {},
    "generations_submission": {"created_at": "statement_timestamp()"},
    "generations_webhookdelivery": {
        "id": "gen_random_uuid()",
        "state": "0",
        "attempts": "0",
        "earlier_attempts": "0",
        "next_attempt_at": "statement_timestamp()",
        "created_at": "statement_timestamp()",
    },
    "generations_webhooksecret": {"created_at": "statement_timestamp()"},
    "generations_turn": {},
    "generations_discardedfile": {"discarded_at": "statement_timestamp()"},
}
UNLOGGED = {"apikeys_bucket", "generations_turn"}  # what a crash may empty
TABLES = pytest.mark.parametrize("table", COLUMNS)


def ask(statement: str, *parameters) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


@TABLES
def test_columns__have_the_exact_types_and_lengths(table):
    found = ask(
        """SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped""",
        table,
    )

    assert {name: (type_, not_null) for name, type_, not_null in found} == COLUMNS[table]


@TABLES
def test_defaults__are_the_database_s_own(table):
    found = ask(
        """SELECT attname, pg_get_expr(adbin, adrelid) FROM pg_attrdef
           JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = %s::regclass""",
        table,
    )

    assert dict(found) == DEFAULTS[table]


@TABLES
def test_checks__are_there_by_name_and_valid(table):
    found = ask(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' AND convalidated", table
    )

    assert {name for (name,) in found} == CHECKS[table]


def test_foreign_keys__cascade_nothing():
    found = ask(
        """SELECT pg_get_constraintdef(oid) FROM pg_constraint
           WHERE conrelid = 'generations_generation'::regclass AND contype = 'f' AND convalidated
           ORDER BY conname DESC"""
    )

    assert found == [
        ("FOREIGN KEY (api_key_id) REFERENCES apikeys_apikey(id) DEFERRABLE INITIALLY DEFERRED",),
        ("FOREIGN KEY (submission_id) REFERENCES generations_submission(id) DEFERRABLE INITIALLY DEFERRED",),
    ]


@TABLES
def test_indexes__are_the_ones_that_serve_a_query(table):
    found = ask("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", table)

    shape = {name: ("UNIQUE " if "UNIQUE INDEX" in text else "") + text.split(" USING ")[1] for name, text in found}
    assert shape == INDEXES[table]


@TABLES
def test_table__survives_a_crash_unless_it_may_be_emptied(table):
    expected = "u" if table in UNLOGGED else "p"

    assert ask("SELECT relpersistence FROM pg_class WHERE oid = %s::regclass", table) == [(expected,)]


def test_bucket__is_tied_to_its_key_by_nothing_that_could_be_in_the_way():
    assert ask("SELECT conname FROM pg_constraint WHERE 'apikeys_bucket'::regclass IN (conrelid, confrelid)") == [
        ("apikeys_bucket_pkey",)
    ]
