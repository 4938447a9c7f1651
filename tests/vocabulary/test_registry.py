"""Methods and scores of other packages: how they are announced, and what is refused."""

import importlib
import sys
import threading

import numpy as np
import pytest

from monai_sf.scores import CSF, CSFS, METHODS, Method, csfs_for, register_csf, register_method
from monai_sf.vocabulary.registry import Registry
from monai_sf.vocabulary.shifts import KINDS, corruption_name, corruption_of, is_corruption_name
from monai_sf.vocabulary.titles import title


def announce(folder, monkeypatch, module, content, *names):
    """A distribution as pip leaves it: a module, and its entry points."""
    (folder / f"{module}.py").write_text(content)
    about = folder / f"{module}-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
    lines = "".join(f"{name} = {module}:{name}\n" for name in names)
    (about / "entry_points.txt").write_text(f"[some.methods]\n{lines}")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)


def registry(*names):
    return Registry(Method, "some.methods", [Method(name) for name in names], taken=("all",))


MODULE = "from monai_sf.scores import Method\nA, B = Method('a'), Method('b')\n"


def test_entry_points_are_loaded_when_the_names_are_first_read(tmp_path, monkeypatch):
    announce(tmp_path, monkeypatch, "first_use", MODULE, "B", "A")
    methods = registry("own")
    assert "first_use" not in sys.modules
    assert list(methods) == ["own", "a", "b"]
    assert methods["a"] is sys.modules["first_use"].A
    assert len(methods) == 3
    with pytest.raises(TypeError):
        methods["c"] = Method("c")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("B = 1", "AttributeError: .*has no attribute 'A'"),
        ("A = 1", "TypeError: expected a Method, got 1"),
        ("from monai_sf.scores import Method\nA = Method('own')", "another Method is registered as 'own'"),
        ("from monai_sf.scores import Method\nA = Method('../own')", "must begin with a letter or digit"),
        ("from monai_sf.scores import Method\nA = Method('all')", "be none of all, got 'all'"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named_each_time(tmp_path, monkeypatch, content, reason):
    announce(tmp_path, monkeypatch, "broken_one", content, "A")
    methods = registry("own")
    words = (
        rf"A = broken_one:A \(some.methods\) of the distribution broken_one 1.5 cannot be used: .*{reason}"
    )
    for _ in range(2):
        with pytest.raises(ImportError, match=words):
            list(methods)


def test_a_package_may_read_the_names_while_it_is_loaded(tmp_path, monkeypatch):
    announce(tmp_path, monkeypatch, "reads_names", "import inspect_me\nA = inspect_me.make()\n", "A")
    (tmp_path / "inspect_me.py").write_text(
        "from monai_sf.scores import Method\nmethods = []\n"
        "def make():\n    assert list(methods[0]) == ['own']\n    return Method('a')\n"
    )
    inspect_me = importlib.import_module("inspect_me")

    methods = registry("own")
    inspect_me.methods.append(methods)
    found = []
    threads = [threading.Thread(target=lambda: found.append(list(methods))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["own", "a"]] * 4


def test_registering_twice():
    methods = registry("own")
    mine = Method("mine")
    assert methods.register(mine) is mine
    methods.register(mine)
    with pytest.raises(ValueError, match="another Method is registered as 'mine'"):
        methods.register(Method("mine", heads=("x",)))
    with pytest.raises(ValueError, match="another CSF is registered as 'MSR'"):
        register_csf(CSF("MSR", ("logits",), lambda a: a))
    with pytest.raises(ValueError, match="be none of .*defer"):
        register_csf(CSF("defer", ("logits",), lambda a: a))
    with pytest.raises(TypeError, match="expected a Method, got 'devries'"):
        register_method("devries")
    assert len(METHODS) == 4


def test_which_scores_judge_a_registered_method(monkeypatch):
    everything = {array for csf in CSFS.values() for array in csf.needs} | {"evidence"}
    scores = {
        "Mine": CSF("Mine", ("evidence",), lambda a: a, method="mine"),
        "Open": CSF("Open", ("evidence",), lambda a: a),
    }
    for name, csf in scores.items():
        monkeypatch.setitem(CSFS._entries, name, csf)
    generic = [name for name, csf in CSFS.items() if csf.method is None]
    for method, expected in (
        (Method("mine"), {*generic, "Mine"}),
        (Method("mine", scores=()), {"Mine"}),
        (Method("mine", scores=("PE", "DeVries")), {"PE", "DeVries", "Mine"}),
    ):
        monkeypatch.setitem(METHODS._entries, "mine", method)
        assert set(csfs_for("mine", everything)) == expected
    assert set(csfs_for("devries", everything)) == {"DeVries"}
    assert set(csfs_for("classifier", everything)) == set(generic)
    assert "Open" not in csfs_for("classifier", {"logits"})


def test_a_score_gives_one_number_per_case():
    arrays = {"logits": np.zeros((3, 2))}
    assert CSF("One", ("logits",), lambda a: a["logits"][:, 0])(arrays).tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError, match=r"the score Two must return one number per case, \(3,\), got shape \(3, 2"
    ):
        CSF("Two", ("logits",), lambda a: a["logits"])(arrays)


@pytest.mark.parametrize("kind", ["gaussian_noise", "a-3", "corruption-x-2"])
def test_names_of_corrupted_test_sets_are_read_as_they_are_written(kind):
    assert corruption_of(corruption_name(kind, 4)) == (kind, 4)


@pytest.mark.parametrize("name", ["iid", "corruption-noise-6", "corruption-noise", "Corruption-noise-1"])
def test_other_names_are_those_of_no_corruption(name):
    assert corruption_of(name) is None
    assert is_corruption_name(name) == name.startswith("corruption-")


def test_kinds_and_titles():
    assert KINDS == ("iid", "corruption", "acquisition", "manifestation", "new_class")
    assert title("chest_xray") == "chest X-ray"
    assert title("gaussian_noise") == "gaussian noise"
