from monai_sf.vocabulary.data_kinds import DATA_KINDS, warning_of


def test_all_kinds_but_real_data_have_a_warning_and_unknown_ones_too():
    assert [kind for kind in DATA_KINDS if not warning_of(kind)] == ["real"]
    assert warning_of("simulated") == warning_of("phantom")
