import base64
import json

import numpy as np
import pytest

from monai_sf.report.packing import AsText, Packer, script_json


def test_arrays_are_aligned_and_come_back():
    packer = Packer()
    given = [
        (np.arange(5), "uint8"),
        (np.linspace(0, 1, 3), "float64"),
        (np.array([[-1, 2], [3, 4]]), "int16"),
        (np.zeros(0), "float32"),
        (np.array([2**31]), "uint32"),
    ]
    places = [packer.add(a, d)["$array"] for a, d in given]
    data = base64.b64decode(packer.base64()[1])
    for (array, dtype), (name, offset, count, block) in zip(given, places, strict=True):
        assert (offset % 8, block) == (0, 1)
        assert name.lower() == f"{dtype}array"
        np.testing.assert_array_equal(np.frombuffer(data, dtype, count, offset), array.ravel())


def test_what_the_first_view_needs_lies_in_a_block_of_its_own():
    packer = Packer()
    assert packer.add([1, 2], "uint8", "counts") == {"$array": ["Uint8Array", 0, 2, 0]}
    assert packer.add([1, 2], "uint8") == {"$array": ["Uint8Array", 0, 2, 1]}
    assert [base64.b64decode(b) for b in packer.base64()] == [b"\1\2"] * 2


def test_what_is_there_already_is_not_stored_again():
    packer = Packer()
    first = packer.add(np.arange(100), "uint16")
    assert packer.add(np.arange(100), "uint16") == first
    assert packer.add(np.arange(100), "uint32") != first
    assert packer.add(np.arange(50), "uint32")["$array"][1:3] == [600, 50]
    assert len(base64.b64decode(packer.base64()[1])) == 200 + 400 + 200


def test_an_integer_that_does_not_fit_is_not_wrapped():
    with pytest.raises(OverflowError, match=r"0\.\.256 do not fit into uint8"):
        Packer().add([0, 256], "uint8")


def test_script_json_cannot_end_its_element():
    text = script_json({"a": "</script><!--<script>&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>&\u2028"}


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json({"a": float("nan")})


def test_keys_of_data_are_text_and_cannot_be_taken_for_an_array():
    config = {"$array": ["Uint8Array", 0, 9, 0], "__proto__": {"a": 1}, "x": float("nan"), "big": 2**70}
    (text,) = json.loads(script_json({"run": AsText(config)})).values()
    assert json.loads(text)["$array"] == ["Uint8Array", 0, 9, 0]
    assert '"big": 1180591620717411303424' in text
    assert '"x": NaN' in text
    with pytest.raises(ValueError, match="AsText"):
        script_json({"run": config})
    assert json.loads(script_json({"a": Packer().add([1], "uint8")})) == {
        "a": {"$array": ["Uint8Array", 0, 1, 1]}
    }


def test_all_text_is_cleaned_on_its_way_into_the_document():
    secret = "read /home/jdoe/x"
    text = script_json(
        {"a": [secret, (secret,)], "b": {"c": secret}, "d": AsText({secret: secret, "user": "jdoe"})}
    )
    assert "jdoe" not in text
    assert text.count("[path]") == 4
