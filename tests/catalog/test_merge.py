"""Laying one description over another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.merge import merge, nest

KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.integers(), lambda below: st.dictionaries(KEYS, below, max_size=3), max_leaves=8
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=3)


@given(MAPPINGS)
def test_nothing_over_a_description_changes_nothing(base):
    assert merge(base, {}) == base
    assert merge(base, base) == base


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_layers_may_be_joined_before_they_are_laid_on(base, middle, top):
    if _replaces_a_leaf(base, middle) or _replaces_a_leaf(middle, top):
        return
    assert merge(merge(base, middle), top) == merge(base, merge(middle, top))


def _replaces_a_leaf(base, over):
    """A mapping where there was a number, or the other way round, does not associate."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return isinstance(base, dict) != isinstance(over, dict)
    return any(_replaces_a_leaf(base[k], over[k]) for k in base.keys() & over.keys())


@given(MAPPINGS, st.lists(KEYS, min_size=1, max_size=3), st.integers())
def test_what_is_set_is_there_afterwards(base, path, value):
    found = merge(base, nest(tuple(path), value))
    for key in path:
        found = found[key]
    assert found == value


def test_a_mapping_over_a_name_varies_the_entry():
    assert merge({"host": "a"}, {"host": {"n": 1}}) == {"host": {"extends": "a", "n": 1}}


def test_a_mapping_with_extends_starts_afresh():
    base = {"host": {"extends": "a", "n": 1}}
    assert merge(base, {"host": {"extends": "b"}}) == {"host": {"extends": "b"}}


def test_an_index_changes_one_element_of_a_list():
    assert merge([{"x": 1, "y": 2}, 3], {"0": {"x": 9}}) == [{"x": 9, "y": 2}, 3]


def test_an_index_outside_the_list_is_left_for_the_check():
    assert merge([1], {"7": 2}) == {"7": 2}
