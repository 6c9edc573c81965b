"""How many streams, waits and downloads may be open at once."""

import gc

import pytest

from lockngen.web.slots import Full, HolderFull, Slots


@pytest.fixture
def slots() -> Slots:
    return Slots(lambda: 3, lambda: 2)


def test_slots__are_limited_for_each_holder(slots):
    held = [slots.take("a"), slots.take("a")]

    with pytest.raises(HolderFull):
        slots.take("a")
    held.append(slots.take("b"))
    with pytest.raises(Full):
        slots.take("c")


def test_slot__is_free_after_its_release(slots):
    first, _second = slots.take("a"), slots.take("a")

    first.release()
    first.release()

    assert slots.take("a")


def test_slot__is_free_after_its_block_raised(slots):
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots.take("a"):
            raise ZeroDivisionError

    assert slots.take("a")


def test_slot__is_held_after_its_block(slots):
    with slots.take("a") as first, slots.take("a") as second:
        held = [first, second]

    with pytest.raises(HolderFull):
        slots.take("a")
    assert len(held) == 2


def test_slot__that_is_discarded_is_free(slots):
    for _ in range(5):
        slots.take("a")
        gc.collect()


def test_holders__without_slots_take_no_memory(slots):
    for holder in range(100):
        slots.take(holder).release()

    assert len(slots._of) <= 2
