"""Run directories, locks, buckets, provenance."""

from condmis_jax.runs.bucket import in_bucket, is_bucket, opened
from condmis_jax.runs.directory import BASE, RunDirectory, claim, locked, stage_name
from condmis_jax.runs.jsonl import JsonlWriter, read_json, read_jsonl, write_json, write_jsonl
from condmis_jax.runs.provenance import digest, provenance

__all__ = [
    "BASE",
    "JsonlWriter",
    "RunDirectory",
    "claim",
    "digest",
    "in_bucket",
    "is_bucket",
    "locked",
    "opened",
    "provenance",
    "read_json",
    "read_jsonl",
    "stage_name",
    "write_json",
    "write_jsonl",
]
