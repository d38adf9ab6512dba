# SPDX-License-Identifier: Apache-2.0
import warnings
from threading import Event, Thread

import pytest

from spinefinder_fast.quiet import silenced


def test_only_what_is_named_is_silenced():
    with silenced(DeprecationWarning, ".*old"):
        warnings.warn("an old thing", DeprecationWarning, stacklevel=1)
        for category, text in ((DeprecationWarning, "another"), (UserWarning, "an old thing")):
            with pytest.raises(category, match=text):
                warnings.warn(text, category, stacklevel=1)


def test_two_threads_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    inside, outside, entered = Event(), Event(), []

    def first():
        with silenced(DeprecationWarning):
            inside.set()
            outside.wait(1)

    def second():
        inside.wait(20)
        with silenced(UserWarning):
            entered.append(one.is_alive())

    one, two = Thread(target=first), Thread(target=second)
    one.start()
    two.start()
    inside.wait(20)
    two.join(0.2)
    assert not entered  # waits for the other to have put the filters back
    outside.set()
    one.join(20)
    two.join(20)
    assert len(entered) == 1
    assert warnings.filters == before
