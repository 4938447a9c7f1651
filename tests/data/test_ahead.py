"""One item is made while the last one is used: never more, in order, and none is lost."""

import threading

import pytest

from monai_sf.data.ahead import ahead


def made(count, log, error_at=None):
    for i in range(count):
        if i == error_at:
            raise ValueError(f"item {i} cannot be read")
        log.append((i, threading.current_thread()))
        yield i


def test_all_items_in_order_made_by_another_thread():
    log = []
    assert list(ahead(made(5, log))) == list(range(5))
    assert {thread for _, thread in log} != {threading.current_thread()}
    assert list(ahead([])) == []
    assert list(ahead([None, 0, False])) == [None, 0, False]


def test_the_next_item_is_made_while_the_last_is_used_and_no_further_one():
    log, items, met = [], [], threading.Barrier(2)

    def meeting():
        yield 0
        met.wait(10)  # for the user of item 0
        log.append("made while 0 was used")
        yield 1
        log.append("end")

    for item in ahead(meeting()):
        items.append(item)
        if item == 0:
            assert log == []
            met.wait(10)
    assert items == [0, 1]
    log.clear()
    numbers = made(100, log)
    first = ahead(numbers)
    assert next(first) == 0
    first.close()
    assert [i for i, _ in log] in ([0], [0, 1])


def test_an_error_comes_in_the_place_of_its_item():
    items = ahead(made(5, [], error_at=3))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3 cannot be read"):
        next(items)
    assert list(items) == []


def test_closing_ends_the_thread():
    before = threading.active_count()
    items = ahead(made(5, []))
    next(items)
    items.close()
    assert threading.active_count() == before
