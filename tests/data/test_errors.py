"""The cause of an error is the last line that a user sees."""

from helpers.forks import forked
from monai_sf.data.errors import root_cause, say_the_cause_last


def wrap(cause, text="Failed to evaluate ConfigExpression: '$x'"):
    error = RuntimeError(text)
    error.__cause__ = cause
    return error


def test_root_cause_unwraps_monai_and_nothing_else():
    cause = ValueError("epochs must be positive")
    assert root_cause(wrap(wrap(cause, "Failed to instantiate component"))) is cause
    assert root_cause(wrap(wrap(cause, "applying transform <LoadImageFiled object at 0x7f>"))) is cause
    assert root_cause(cause) is cause
    ours = wrap(cause, "2 of 3 runs failed")
    assert root_cause(ours) is ours
    assert root_cause(RuntimeError("Failed to evaluate alone")).args == ("Failed to evaluate alone",)


def fail():
    say_the_cause_last()
    say_the_cause_last()
    raise wrap(ValueError("the real reason"))


def test_the_cause_is_printed_last_and_once(tmp_path):
    done = forked(fail, tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[-1] == "ValueError: the real reason"
    assert lines[-3].startswith("RuntimeError: Failed to evaluate")
