"""A request to stop: at once, unless somebody holds on."""

import pytest

from redpencil.stopping import Request, Stopped


def test_a_request_stops_at_once_where_nobody_holds_on() -> None:
    request = Request()
    request.check()
    with pytest.raises(Stopped):
        request.make()
    with pytest.raises(Stopped):
        request.check()
    assert isinstance(Stopped(), KeyboardInterrupt)


def test_who_holds_on_hears_of_it_and_the_end_of_the_block_lets_go() -> None:
    request, heard = Request(), []
    with request.held():
        with request.held(lambda: heard.append("inner")):
            request.make()
            request.make()
        assert heard == ["inner"] * 2
        request.hold()  # as a training does that begins in the outer block
        request.make()
        assert heard == ["inner"] * 2
    assert request.made
    with pytest.raises(Stopped):
        request.make()


def test_an_error_in_the_block_lets_go_too() -> None:
    request = Request()

    def fail() -> None:
        with request.held():
            request.hold()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(Stopped):
        request.make()
