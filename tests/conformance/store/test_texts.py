"""Long texts."""

import pytest

from palmette.coordination.store import MemoryStore, SqliteStore
from palmette.coordination.values import TEXT_INLINE_BYTES, Blob

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("text", ["", "short", "x" * TEXT_INLINE_BYTES, "…" * (TEXT_INLINE_BYTES // 3), "a\0b"])
async def test_a_short_text_stays_where_it_is(store: MemoryStore | SqliteStore, text: str) -> None:
    assert await store.keep(text) == text
    assert await store.text(text) == text


@pytest.mark.parametrize("text", ["x" * (TEXT_INLINE_BYTES + 1), "…" * 700, "line\r\n" * 100_000, "\0" * 3_000])
async def test_a_long_text_is_kept_aside_and_comes_back_as_it_was(store: MemoryStore | SqliteStore, text: str) -> None:
    kept = await store.keep(text)
    assert isinstance(kept, Blob)
    assert kept.size == len(text.encode())
    assert await store.keep(text) == kept
    assert await store.text(kept) == text


async def test_a_text_counts_by_its_json_form(store: MemoryStore | SqliteStore) -> None:
    assert isinstance(await store.keep("\x01" * 171), Blob)
    assert await store.keep("\x01" * 170) == "\x01" * 170
    assert isinstance(await store.keep('"' * (TEXT_INLINE_BYTES // 2 + 1)), Blob)


async def test_an_event_with_less_room_keeps_less(store: MemoryStore | SqliteStore) -> None:
    assert await store.keep("x" * 200, inline=200) == "x" * 200
    kept = await store.keep("x" * 201, inline=200)
    assert isinstance(kept, Blob)
    assert await store.text(kept) == "x" * 201


@pytest.mark.parametrize("filling", ["", "x" * 4_000])
async def test_what_utf8_cannot_hold_is_replaced(store: MemoryStore | SqliteStore, filling: str) -> None:
    kept = await store.keep(f"{filling}a\ud800b")
    assert await store.text(kept) == f"{filling}a\ufffdb"
    # A pair of surrogates is one character, however it was written.
    assert await store.text(await store.keep(f"{filling}\ud83c\udf33")) == f"{filling}\N{DECIDUOUS TREE}"


async def test_a_redacted_text_is_gone_for_good(store: MemoryStore | SqliteStore) -> None:
    text = "a secret, " * 1_000
    kept = await store.keep(text)
    assert isinstance(kept, Blob)
    await store.redact(kept)
    await store.redact(kept)
    assert await store.text(kept) == "[redacted]"
    assert await store.keep(text) == kept
    assert await store.text(kept) == "[redacted]"
