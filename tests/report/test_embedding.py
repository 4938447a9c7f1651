import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from monai_sf.report import embedding, maps
from monai_sf.report.embedding import embed
from monai_sf.report.maps import with_maps
from monai_sf.report.runs import evaluate


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 40)
    return rng.normal(size=(120, 8)) + 12 * np.eye(3, 8)[label], label


def test_clusters_stay_clusters_and_the_cloud_has_radius_one(clusters):
    features, label = clusters
    points = embed(features, seed=0)
    assert points.shape == (120, 3)
    assert points.dtype == np.float32
    neighbours = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(return_distance=False)
    same = label[neighbours] == label[:, None]
    assert float(same.mean()) > 0.98
    assert np.quantile(np.linalg.norm(points, axis=1), 0.99) == pytest.approx(1, rel=1e-5)


def test_same_seed_same_embedding(clusters):
    np.testing.assert_array_equal(embed(clusters[0][::5], 3), embed(clusters[0][::5], 3))


def test_cache_is_used_for_the_same_input_only(clusters, tmp_path, monkeypatch):
    features = clusters[0][::10]
    first = embed(features, 0, tmp_path)
    assert len(list(tmp_path.glob("embedding-*.npz"))) == 1
    embed(features, 1, tmp_path)
    embed(features + 1e-3, 0, tmp_path)
    assert len(list(tmp_path.glob("embedding-*.npz"))) == 3
    monkeypatch.setattr(embedding, "_compute", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(embed(features, 0, tmp_path), first)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_damaged_cache_is_replaced(clusters, tmp_path, caplog, content):
    features = clusters[0][::10]
    first = embed(features, 0, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(content)
    np.testing.assert_array_equal(embed(features, 0, tmp_path), first)
    assert "computed again" in caplog.text
    assert file.stat().st_size > 100


def test_a_cache_with_something_else_is_replaced(clusters, tmp_path):
    features = clusters[0][::10]
    first = embed(features, 0, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    with open(file, "wb") as stream:
        np.savez(stream, embedding=np.zeros((5, 3), np.float32))
    np.testing.assert_array_equal(embed(features, 0, tmp_path), first)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(clusters, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert embed(clusters[0][::10], 0, tmp_path / "file").shape == (12, 3)
    assert "not stored" in caplog.text


@pytest.mark.parametrize("width", [1, 2, 200])
def test_few_and_many_features(width):
    features = np.random.default_rng(0).normal(size=(9, width))
    assert np.isfinite(embed(features, 0)).all()


def test_features_that_are_all_alike():
    np.testing.assert_array_equal(embed(np.ones((7, 4)), 0), 0)


@pytest.mark.parametrize("exponent", [-120, 70, 120])
def test_very_large_and_small_features_have_the_same_map(clusters, exponent):
    features = clusters[0][::6].astype(np.float32)
    scaled = np.ldexp(features, exponent)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(embed(scaled, 0), embed(features, 0), rtol=0, atol=1e-3)


def test_too_few_cases():
    with pytest.raises(ValueError, match=r"n >= 5, got shape \(4, 2\)"):
        embed(np.zeros((4, 2)), 0)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="must be finite"):
        embed(np.full((6, 2), np.nan), 0)


def test_several_maps_at_once_are_those_one_by_one(make_run, monkeypatch):
    runs = [evaluate(make_run(study, n=30), 40, 0) for study in ("iid", "texture", "calcification")]
    alone = [with_maps([run], 3, [None])[0] for run in runs]
    monkeypatch.setattr(maps, "usable_cores", lambda: 2)
    for one, of_many in zip(alone, with_maps(runs, 3, [None] * 3), strict=True):
        assert np.isfinite(one.embedding).all()
        np.testing.assert_array_equal(one.embedding, of_many.embedding)
        assert one.notes == of_many.notes


@pytest.mark.parametrize("cores", [1, 2])
def test_a_run_whose_map_fails_is_shown_without_one(make_run, monkeypatch, caplog, cores):
    runs = [evaluate(make_run(study, n=30), 40, 0) for study in ("iid", "texture")]
    sample = runs[1].sample
    bad = runs[1].sets[sample.test_set[0]].arrays["features"][sample.position[0]]

    def failing(features, *rest):
        if (features == bad).all(1).any():
            raise ValueError("array must not contain infs or NaNs")
        return embed(features, *rest)

    monkeypatch.setattr(maps, "usable_cores", lambda: cores)
    monkeypatch.setattr(maps, "embed", failing)
    good, without = with_maps(runs, 0, [None] * 2)
    assert np.isfinite(good.embedding).all()
    assert without.embedding is None
    assert without.notes[-1].text == "No map can be computed of these features."
    assert "no map of" in caplog.text
    assert "texture" in caplog.text
