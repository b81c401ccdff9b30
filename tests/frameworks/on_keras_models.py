"""Models of Keras', run by test_models_keras.py in a process that has one backend."""

from __future__ import annotations

import hashlib

import keras
import numpy as np
import pytest

from celeiro.errors import ModelError, OptionError
from celeiro.features.models import open_model
from celeiro.features.models.keras import _preprocessing
from celeiro.feeding.transforms.chain import Chain

# Keras under PyTorch asks tensors for arrays in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning", "ignore:`input_shape` is undefined"
)

NAME = "keras:MobileNet"
SMALL = {"size": 32, "device": "cpu"}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with random weights, and the file that holds them."""
    folder = tmp_path_factory.mktemp("weights")
    model = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    model.save_weights(folder / "w.weights.h5")
    model.save(folder / "w.keras")
    return model, folder


def through(steps, images):
    chain = Chain(steps, shape=images.shape[1:], channels=3, dtype=np.uint8)
    return np.stack([chain.apply(i, chain.plan(*i.shape[:2], ())) for i in images])


def prepared(model, pixels):
    return keras.applications.mobilenet.preprocess_input(pixels.astype(np.float32))


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
def test_features_are_the_models_own(saved, pixels, name):
    own, folder = saved
    model = open_model(NAME, weights=folder / name, **SMALL)
    batch = through(model.transforms, pixels)
    rows = model(batch)
    assert list(rows) == ["features"]
    assert rows["features"].dtype == np.float32
    wanted = own.predict_on_batch(prepared(own, pixels))
    assert np.allclose(rows["features"], wanted, atol=1e-4)
    assert np.array_equal(model(batch)["features"], rows["features"])
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert model.told["weights"] == {"file": name, "sha256": digest}
    assert model.told["libraries"]["keras"] == keras.__version__
    model.close()


def test_layers_and_flattened_maps(saved, pixels):
    own, folder = saved
    weights = folder / "w.weights.h5"
    batch = prepared(own, pixels)
    names = ["conv_pw_13_relu", "conv1_relu"]
    rows = open_model(NAME, weights=weights, layers=names, **SMALL)(batch)
    maps = keras.Model(own.inputs[0], [own.get_layer(n).output for n in names])
    wanted = [np.asarray(array) for array in maps.predict_on_batch(batch)]
    assert list(rows) == names
    for name, array in zip(names, wanted, strict=True):
        assert np.allclose(rows[name], array.mean((1, 2)), atol=1e-4)
    flat = open_model(NAME, weights=weights, pool="flatten", **SMALL)(batch)["features"]
    assert np.allclose(flat, wanted[0].reshape(3, -1), atol=1e-4)  # as the article flattens


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ResNet50", "resnet50"),
        ("MobileNetV2", "mobilenet_v2"),
        ("DenseNet121", "densenet"),
        ("EfficientNetB0", "efficientnet"),
    ],
)
def test_values_are_those_of_preprocess_input(name, module, pixels):
    wanted = getattr(keras.applications, module).preprocess_input(pixels.astype(np.float32))
    steps = _preprocessing(getattr(keras.applications, name), 32).usual_steps(chw=False)
    assert np.allclose(through(steps, pixels), wanted, atol=1e-4)


def test_any_model_of_keras_is_taken_as_it_is(pixels):
    inputs = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(4, 3, name="maps")(inputs)
    own = keras.Model(inputs, keras.layers.GlobalMaxPooling2D(name="top")(maps))
    model = open_model(own, device="cpu")
    assert model.name.startswith("keras ")
    batch = through(model.transforms, pixels)
    wanted = np.asarray(own.predict_on_batch(pixels.astype(np.float32)))
    assert np.allclose(model(batch)["features"], wanted, atol=1e-3)
    assert len(model.told["weights"]["state_sha256"]) == 64


def test_random_weights_are_the_same_each_time():
    import random

    random.seed(1)
    wanted = random.random()
    random.seed(1)
    told = [open_model(NAME, weights="random:4", **SMALL).told["weights"] for _ in range(2)]
    assert told[0] == told[1]
    assert random.random() == wanted


def test_errors_name_what_there_is(saved, tmp_path, monkeypatch, pixels):
    _, folder = saved
    with pytest.raises(OptionError, match="no model of that name; near it are 'MobileNet'"):
        open_model("keras:MobileNot")
    with pytest.raises(OptionError, match="no layer of that name; near it are 'conv_pw_9_relu'"):
        open_model(NAME, weights="random", layers=["conv_pw_99_relu"], **SMALL)
    with pytest.raises(ModelError, match=r"not the weights of keras:MobileNetV2 .*_notop"):
        open_model("keras:MobileNetV2", weights=folder / "w.weights.h5", **SMALL)
    (tmp_path / "w.weights.h5").write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match="not the weights"):
        open_model(NAME, weights=tmp_path / "w.weights.h5", **SMALL)
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(OptionError, match="wanted a .weights.h5"):
        open_model(NAME, weights=tmp_path / "w.pth", **SMALL)
    with pytest.raises(ModelError, match="wanted \\(B, H, W, C\\)"):
        open_model(NAME, weights="random", **SMALL)(pixels[..., :2])

    def offline(*_, weights=None, **__):
        raise Exception(f"URL fetch failure on https://host/{weights}.h5")

    # Of another module than its preprocess_input's: as it is where Keras is.
    offline.__module__ = keras.applications.MobileNet.__module__
    monkeypatch.setattr(keras.applications, "MobileNet", offline)
    with pytest.raises(ModelError, match=r"on https://host/imagenet.h5\).*~/.keras/models.*=FILE"):
        open_model(NAME, **SMALL)
