"""The tables as PostgreSQL's catalogue describes them, not the models."""

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db

COLUMNS = {
    "apikeys_apikey": {
        "id": "uuid NOT NULL",
        "key_hash": "character(64) NOT NULL",
        "prefix": "character varying(20) NOT NULL",
        "name": "character varying(100) NOT NULL",
        "rate_limit": "integer NOT NULL DEFAULT 100",
        "priority": "integer NOT NULL DEFAULT 1",
        "max_pending": "integer NOT NULL DEFAULT 0",
        "is_active": "boolean NOT NULL DEFAULT true",
        "created_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "expires_at": "timestamp with time zone",
        "last_used_at": "timestamp with time zone",
        "revoked_at": "timestamp with time zone",
        "rotated_from_id": "uuid",
        "is_deleted": "boolean NOT NULL DEFAULT false",
        "deleted_at": "timestamp with time zone",
    },
    "apikeys_bucket": {
        "key_id": "uuid NOT NULL",
        "spent": "bigint NOT NULL",
        "is_admitted": "boolean NOT NULL",
        "measured_at": "timestamp with time zone NOT NULL",
    },
    "apikeys_keyevent": {
        "id": "bigint NOT NULL",
        "key_id": "uuid NOT NULL",
        "prefix": "character varying(20) NOT NULL",
        "name": "character varying(100) NOT NULL",
        "action": "character varying(20) NOT NULL",
        "changes": "jsonb NOT NULL DEFAULT '{}'::jsonb",
        "via": "character varying(10) NOT NULL",
        "actor": "character varying(150) NOT NULL",
        "user_id": "bigint",
        "at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
    },
    "generations_generation": {
        "id": "uuid NOT NULL",
        "api_key_id": "uuid NOT NULL",
        "prompt": "character varying(2000) NOT NULL",
        "negative_prompt": "character varying(2000) NOT NULL DEFAULT ''::character varying",
        "model": "character varying(100) NOT NULL DEFAULT 'default'::character varying",
        "width": "integer NOT NULL DEFAULT 512",
        "height": "integer NOT NULL DEFAULT 512",
        "steps": "integer NOT NULL DEFAULT 30",
        "guidance": "double precision NOT NULL DEFAULT 7.0",
        "seed": "bigint",
        "status": "integer NOT NULL DEFAULT 0",
        "image_path": "character varying(500)",
        "thumbnail_path": "character varying(500)",
        "image_width": "integer",
        "image_height": "integer",
        "image_bytes": "integer",
        "image_type": "character varying(50)",
        "image_sha256": "character(64)",
        "image_placeholder": "character varying(1000)",
        "error_message": "character varying(1000)",
        "attempts": "integer NOT NULL DEFAULT 0",
        "releases": "integer NOT NULL DEFAULT 0",
        "created_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "started_at": "timestamp with time zone",
        "completed_at": "timestamp with time zone",
        "is_deleted": "boolean NOT NULL DEFAULT false",
        "deleted_at": "timestamp with time zone",
        "output_format": "character varying(4)",
        "quality": "integer",
        "keep_metadata": "boolean",
        "submission_id": "bigint",
        "labels": "jsonb NOT NULL DEFAULT '{}'::jsonb",
    },
    "generations_chosenmodel": {
        "api_key_id": "uuid NOT NULL",
        "model": "character varying(100) NOT NULL",
    },
    "generations_submission": {
        "id": "bigint NOT NULL",
        "api_key_id": "uuid NOT NULL",
        "key": "character varying(255)",
        "body_sha256": "character(64) NOT NULL",
        "created_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "webhook": "character varying(2000)",
        "webhook_events": "character varying(9)[]",
        "interface": "character varying(20)",
        "base_url": "character varying(500)",
    },
    "generations_webhookdelivery": {
        "id": "uuid NOT NULL DEFAULT gen_random_uuid()",
        "generation_id": "uuid NOT NULL",
        "event": "character varying(9) NOT NULL",
        "state": "integer NOT NULL DEFAULT 0",
        "attempts": "integer NOT NULL DEFAULT 0",
        "earlier_attempts": "integer NOT NULL DEFAULT 0",
        "next_attempt_at": "timestamp with time zone DEFAULT statement_timestamp()",
        "last_status": "integer",
        "last_error": "character varying(200)",
        "created_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "ended_at": "timestamp with time zone",
    },
    "generations_webhooksecret": {
        "api_key_id": "uuid NOT NULL",
        "secret": "character varying(60) NOT NULL",
        "previous": "character varying(60)",
        "created_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "rotated_at": "timestamp with time zone",
    },
    "generations_turn": {
        "api_key_id": "uuid NOT NULL",
        "taken": "bigint NOT NULL",
        "taken_at": "timestamp with time zone NOT NULL",
        "started": "bigint",
    },
    "generations_preview": {
        "generation_id": "uuid NOT NULL",
        "attempt": "integer NOT NULL",
        "image": "bytea NOT NULL",
    },
    "generations_discardedfile": {
        "id": "bigint NOT NULL",
        "path": "character varying(500) NOT NULL",
        "discarded_at": "timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
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
    "generations_submission": {"submission_webhook_is_whole"},
    "generations_webhookdelivery": {
        "webhookdelivery_event_is_known",
        "webhookdelivery_end_is_dated",
        "webhookdelivery_attempts_are_counted",
    },
    "generations_webhooksecret": {"webhooksecret_rotation_is_dated"},
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
    "generations_preview": {"generations_preview_pkey": "UNIQUE btree (generation_id)"},
    "generations_discardedfile": {"generations_discardedfile_pkey": "UNIQUE btree (id)"},
}
UNLOGGED = {"apikeys_bucket", "generations_turn", "generations_preview"}  # what a crash may empty
TABLES = pytest.mark.parametrize("table", COLUMNS)


@TABLES
def test_columns__have_the_exact_types_lengths_and_defaults(table):
    found = connection.query(
        """SELECT attname, concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                                     'DEFAULT ' || pg_get_expr(adbin, adrelid))
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped""",
        table,
    )

    assert dict(found) == COLUMNS[table]


@TABLES
def test_checks__are_there_by_name_and_valid(table):
    found = connection.query(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' AND convalidated", table
    )

    assert {name for (name,) in found} == CHECKS.get(table, set())


def test_foreign_keys__cascade_nothing():
    found = connection.query(
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
    found = connection.query("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", table)

    shape = {name: ("UNIQUE " if "UNIQUE INDEX" in text else "") + text.split(" USING ")[1] for name, text in found}
    assert shape == INDEXES[table]


@TABLES
def test_table__survives_a_crash_unless_it_may_be_emptied(table):
    expected = "u" if table in UNLOGGED else "p"

    assert connection.query("SELECT relpersistence FROM pg_class WHERE oid = %s::regclass", table) == [(expected,)]


def test_bucket__has_no_foreign_key_constraint():
    constraints = "SELECT conname FROM pg_constraint WHERE 'apikeys_bucket'::regclass IN (conrelid, confrelid)"

    assert connection.query(constraints) == [("apikeys_bucket_pkey",)]
