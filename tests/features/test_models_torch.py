"""Networks of PyTorch's: modules as they are, torchvision's, timm's; their layers and weights."""

from __future__ import annotations

import hashlib
import logging
import sys

import numpy as np
import pytest

import celeiro
from celeiro.errors import MissingExtraError, ModelError, OptionError
from celeiro.features.models import network, open_model
from celeiro.feeding.transforms.chain import Chain

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Tiny(torch.nn.Module):
    """Two convolutions, a mean, a classifier; a ReLU that is used twice, and works in place."""

    def __init__(self, channels=3, view=False):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, 5, 3)
        self.relu = torch.nn.ReLU(inplace=True)
        self.second = torch.nn.Conv2d(5, 6, 3)
        self.pair = Pair()
        self.fc = torch.nn.Linear(6, 2)
        self.view = view

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.relu(self.second(x))
        if self.view:
            x = x.view(len(x), -1).view(len(x), 6, -1)
        x = self.pair(x.flatten(2))["mean"]
        return self.fc(x)


class Pair(torch.nn.Module):
    def forward(self, x):
        return {"mean": x.mean(2), "both": (x, x.amax(2))}


def seeded(make, *arguments, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments, **options).eval()


def tensor(batch):
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def batch():
    return np.random.default_rng(1).random((3, 16, 16, 3)).astype(np.float32)


PLAIN = {"size": 16, "mean": 0.5, "std": 0.5, "device": "cpu"}


def test_a_module_gives_what_it_gives(batch):
    net = seeded(Tiny)
    model = open_model(net, **PLAIN)
    rows = model(batch)
    assert model.name.startswith("torch ")
    assert model.name.endswith("test_models_torch.Tiny")
    assert list(rows) == ["features"] == list(model.layers)
    assert rows["features"].dtype == np.float32
    assert rows["features"].flags.c_contiguous
    assert np.allclose(rows["features"], net(tensor(batch)).detach(), atol=1e-6)


def test_layers_by_name_are_pooled_or_flattened(batch):
    net = seeded(Tiny)
    x = tensor(batch)
    first = net.first(x).detach()  # before the ReLU writes into it
    second = net.second(first.relu()).detach()
    rows = open_model(net, layers=["second", "first", "fc"], **PLAIN)(batch)
    assert list(rows) == ["second", "first", "fc"]
    assert np.allclose(rows["second"], second.mean((2, 3)), atol=1e-6)
    assert np.allclose(rows["first"], first.mean((2, 3)), atol=1e-6)
    assert np.allclose(rows["fc"], net(x).detach(), atol=1e-6)
    flat = open_model(net, layers="first", pool="flatten", **PLAIN)(batch)["first"]
    assert np.allclose(flat, first.flatten(1), atol=1e-6)


def test_what_comes_after_the_last_layer_is_not_computed(batch):
    net = seeded(Tiny)
    model = open_model(net, layers=["first"], **PLAIN)
    net.second.forward = None
    assert model(batch)["first"].shape == (3, 5)
    assert not net.first._forward_hooks


def test_parts_of_what_a_layer_gives_have_names(batch):
    net = seeded(Tiny)
    rows = open_model(net, layers=["pair[mean]", "pair[both][1]"], **PLAIN)(batch)
    x = net.relu(net.second(net.relu(net.first(tensor(batch))))).flatten(2).detach()
    assert np.allclose(rows["pair[mean]"], x.mean(2), atol=1e-6)
    assert np.allclose(rows["pair[both][1]"], x.amax(2), atol=1e-6)
    with pytest.raises(ModelError, match=r"'pair\[mean\]' \(1, 6\), 'pair\[both\]\[0\]'"):
        open_model(net, layers=["pair"], **PLAIN)
    with pytest.raises(OptionError, match=r"no such part; .*'pair\[both\]\[1\]'"):
        open_model(net, layers=["pair[max]"], **PLAIN)


def test_unknown_layers_and_those_that_run_twice_are_refused():
    with pytest.raises(OptionError, match=r"layer 'secnd': .*there are 'first', 'relu', 'second'"):
        open_model(seeded(Tiny), layers=["secnd"], **PLAIN)
    with pytest.raises(OptionError, match=r"layer 'fc\\nfc'"):
        open_model(seeded(Tiny), layers=["fc\nfc"], **PLAIN)
    with pytest.raises(OptionError, match="'relu': .* runs it 2 times"):
        open_model(seeded(Tiny), layers=["relu"], **PLAIN)


def test_a_module_that_takes_memory_for_granted_gets_channels_first(batch):
    net = seeded(Tiny, view=True)
    model = open_model(net, **PLAIN)
    assert "ToCHW" in repr(model.transforms)
    rows = model(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))["features"]
    assert np.allclose(rows, net(tensor(batch)).detach(), atol=1e-6)
    with pytest.raises(ModelError, match=r"wanted \(B, C, H, W\)"):
        model(batch)


def test_the_same_batch_gives_the_same_bits(batch):
    one, two = (open_model(seeded(Tiny), threads=1, **PLAIN) for _ in range(2))
    wanted = one(batch)["features"]
    for model in (one, two):
        assert np.array_equal(model(batch)["features"], wanted)
    frozen = batch.copy()
    frozen.flags.writeable = False
    assert np.array_equal(one(frozen)["features"], wanted)
    assert np.array_equal(one(torch.from_numpy(batch))["features"], wanted)


def test_bytes_come_to_what_the_transforms_make_of_them():
    model = open_model(seeded(Tiny), size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    steps = [s for s in model.transforms if type(s).__name__ in ("ToFloat", "Normalize")]
    chain = Chain(steps, shape=image.shape, channels=3, dtype=np.uint8)
    floats = chain.apply(image, chain.plan(16, 16, ()))
    assert torch.equal(model._tensor(image[None]), model._tensor(floats[None]))


def test_threads_are_set_and_put_back():
    model = open_model(seeded(Tiny), threads=2, **PLAIN)
    assert (torch.get_num_threads(), model.told["threads"]) == (2, 2)
    model.close()
    assert torch.get_num_threads() == 1


def test_a_dataset_goes_through_transforms_and_model(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 24), np.uint8)
    celeiro.pack(images, tmp_path / "grey.h5")
    net = seeded(Tiny)
    model = open_model(net, **PLAIN)
    with celeiro.open(tmp_path / "grey.h5") as ds:
        steps = model.transforms_for(ds)
        with celeiro.Loader(ds, 4, shuffle=False, transform=steps) as loader:
            given = next(iter(loader))[0]
    assert given.shape == (4, 16, 16, 3)
    assert (given == given[..., :1]).all()
    assert np.allclose(model(given)["features"], net(tensor(given)).detach(), atol=1e-6)


def test_a_module_of_one_channel_takes_grey(batch):
    model = open_model(seeded(Tiny, channels=1), device="cpu")
    assert model.told["preprocessing"]["color"] == "GRAY"
    grey = np.ascontiguousarray(batch[..., 0])
    assert np.array_equal(model(grey)["features"], model(grey[..., np.newaxis])["features"])


def test_wrong_answers_and_batches_are_errors(batch):
    class Wrong(torch.nn.Module):
        def forward(self, x):
            return x[1:] if len(x) > 1 else x

    with pytest.raises(ModelError, match="for a batch of 3 pictures"):
        open_model(Wrong(), **PLAIN)(batch)
    with pytest.raises(ModelError, match=r"wanted \(B, H, W, C\) of 3 channels"):
        open_model(seeded(Tiny), **PLAIN)(batch[..., :2])


def test_a_size_that_the_model_cannot_take_is_said_at_once():
    with pytest.raises(ModelError, match="fails on a picture of 3x3"):
        open_model(seeded(Tiny), size=3)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "warp:x"])
def test_devices_that_are_not_there_are_refused(device):
    with pytest.raises(OptionError, match="device"):
        network.torch_device(device)


# Weights


@pytest.fixture
def saved(tmp_path):
    """A state and the files that hold it, wrapped in many ways."""
    state = seeded(Tiny).state_dict()
    st = pytest.importorskip("safetensors.torch")
    st.save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "b.pth")
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    torch.save({"model": wrapped}, tmp_path / "c.pth")
    torch.save(state, tmp_path / "d.pth", _use_new_zipfile_serialization=False)
    return tmp_path


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "b.pth", "c.pth", "d.pth"])
def test_weights_of_a_file_are_loaded_and_told(saved, batch, name):
    model = open_model(Tiny(), weights=saved / name, **PLAIN)
    assert np.array_equal(
        model(batch)["features"], open_model(seeded(Tiny), **PLAIN)(batch)["features"]
    )
    digest = hashlib.sha256((saved / name).read_bytes()).hexdigest()
    assert model.told["weights"] == {"file": name, "sha256": digest}


def test_weights_of_another_model_are_refused_by_name(saved, tmp_path):
    state = seeded(Tiny).state_dict()
    state["fc1.bias"] = state.pop("fc.bias")
    torch.save(state, tmp_path / "names.pth")
    with pytest.raises(ModelError, match=r"Missing: 'fc.bias'. Not the model's: 'fc1.bias'"):
        open_model(Tiny(), weights=tmp_path / "names.pth")
    with pytest.raises(ModelError, match=r"'first.weight' \(5, 3, 3, 3\), wanted \(5, 1, 3, 3\)"):
        open_model(Tiny(channels=1), weights=saved / "a.pth")


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_no_code_in_weights_is_run(tmp_path, capsys):
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="without running code"):
        open_model(Tiny(), weights=tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"text", b"\x08\0\0\0\0\0\0\0{broken}", b"PK\x03\x04cut"])
def test_damaged_weights_are_refused(tmp_path, data):
    pytest.importorskip("safetensors")
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(ModelError, match=r"w: (no state dict|a damaged safetensors)"):
        open_model(Tiny(), weights=tmp_path / "w")


def test_weights_that_are_no_tensors_or_no_file_are_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"no state dict but \['epoch'\]"):
        open_model(Tiny(), weights=tmp_path / "w.pth")
    with pytest.raises(OptionError, match="no such file"):
        open_model(Tiny(), weights=tmp_path / "none.pth")


# torchvision


def test_torchvision_gives_what_comes_before_the_classifier(torchvision, batch):
    batch = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    model = open_model("torchvision:resnet18", weights="random:3", size=32, threads=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = torchvision.models.resnet18(weights=None).eval()
    net.fc = torch.nn.Identity()
    assert np.allclose(model(batch)["features"], net(tensor(batch)).detach(), atol=1e-5)
    flat = open_model("torchvision:resnet18", weights="random:3", size=32, pool="flatten")
    assert flat(batch)["features"].shape == (2, 512)  # 1 x 1
    two = open_model("torchvision:resnet18", weights="random:3", size=32, layers=["layer1", "fc"])
    assert {k: v.shape for k, v in two(batch).items()} == {"layer1": (2, 64), "fc": (2, 1000)}
    assert [type(s).__name__ for s in model.transforms] == [
        "Resize", "CenterCrop", "ToFloat", "Normalize",
    ]  # fmt: skip
    assert model.told["weights"]["random"] == 3


def test_torchvision_takes_weights_of_any_number_of_classes(torchvision, tmp_path):
    net = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    name = "torchvision:shufflenet_v2_x0_5"
    model = open_model(name, weights=tmp_path / "w.pth", size=32, layers=["fc"])
    assert model(np.zeros((1, 32, 32, 3), np.float32))["fc"].shape == (1, 7)
    open_model(name, weights=tmp_path / "w.pth", size=32)


@pytest.mark.parametrize(
    ("name", "pool", "width"),
    [
        ("squeezenet1_1", "model", 512),
        ("mobilenet_v3_small", "model", 576),
        ("mobilenet_v3_small", "avg", 576),
        ("mobilenet_v3_small", "flatten", 2304),
        ("mnasnet0_5", "flatten", 5120),
    ],
)
def test_every_family_has_its_own_end(torchvision, name, pool, width):
    model = open_model(f"torchvision:{name}", weights="random", size=64, pool=pool)
    assert model(np.zeros((2, 64, 64, 3), np.float32))["features"].shape == (2, width)


def test_torchvision_says_what_there_is_and_where_weights_go(torchvision, monkeypatch):
    with pytest.raises(OptionError, match=r"no classifier of that name; near it are .*'resnet18'"):
        open_model("torchvision:resnet19")
    with pytest.raises(OptionError, match="there are 'IMAGENET1K_V1'"):
        open_model("torchvision:resnet18.IMAGENET1K_V9")
    weights = torchvision.models.ResNet18_Weights

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(weights, "get_state_dict", offline)
    with pytest.raises(ModelError, match=r"service not known\). Fetch https.*pth .*checkpoints"):
        open_model("torchvision:resnet18")
    state = torchvision.models.resnet18(weights=None).state_dict()
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: state)
    told = open_model("torchvision:resnet18", size=32).told["weights"]
    assert told["name"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert len(told["state_sha256"]) == 64
    assert open_model("torchvision:resnet18", size=32).told["weights"] == told


@pytest.mark.parametrize("name", ["timm", "torchvision"])
@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        ("RuntimeError('operator torchvision::nms does not exist')", ModelError,
         "beside PyTorch .*nms does not exist.*pip install --force-reinstall torch torchvision"),
        ("ImportError('libcudart.so.13: cannot open')", ModelError, "libcudart.*pip install"),
        ("ModuleNotFoundError(\"No module named 'x'\", name='x')", MissingExtraError,
         "need x, which is not installed.*pip install"),
    ],
)  # fmt: skip
def test_a_library_that_does_not_fit_says_what_to_install(
    tmp_path, monkeypatch, name, fault, error, told
):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "timm").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise {fault}\n")
    (tmp_path / "timm" / "__init__.py").write_text("import torchvision\n")
    for module in ("timm", "torchvision"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=told):
        open_model(f"{name}:resnet18")


# timm


def test_timm_gives_its_features_and_its_preprocessing(timm):
    batch = np.random.default_rng(0).random((2, 96, 96, 3)).astype(np.float32)
    model = open_model("timm:test_resnet", weights="random:5", size=96, threads=1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = timm.create_model("test_resnet", num_classes=0).eval()
    assert np.allclose(model(batch)["features"], net(tensor(batch)).detach(), atol=1e-5)
    maps = net.forward_features(tensor(batch)).detach()
    flat = open_model("timm:test_resnet", weights="random:5", size=96, pool="flatten")
    assert np.allclose(flat(batch)["features"], maps.flatten(1), atol=1e-5)
    data = timm.data.resolve_model_data_config(net)
    told = model.told["preprocessing"]
    assert (tuple(told["mean"]), tuple(told["std"])) == (data["mean"], data["std"])
    assert model.told["libraries"]["timm"] == timm.__version__


def test_tokens_that_stand_for_no_part_are_left_out_of_the_mean(timm):
    batch = np.random.default_rng(0).random((2, 160, 160, 3)).astype(np.float32)
    model = open_model("timm:test_vit", weights="random", pool="avg")
    net = model._module
    with torch.inference_mode():
        tokens = net.forward_features(tensor(batch))
    assert net.num_prefix_tokens == 1
    assert np.allclose(model(batch)["features"], tokens[:, 1:].mean(1), atol=1e-5)


def test_timm_takes_a_file_with_or_without_its_classifier(timm, tmp_path):
    net = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(net.state_dict(), tmp_path / "with.pth")
    torch.save({k: v for k, v in net.state_dict().items() if "fc." not in k}, tmp_path / "w.pth")
    batch = np.random.default_rng(0).random((2, 96, 96, 3)).astype(np.float32)
    one, two = (
        open_model("timm:test_resnet", weights=tmp_path / name, size=96)(batch)["features"]
        for name in ("with.pth", "w.pth")
    )
    assert np.array_equal(one, two)
    logits = open_model("timm:test_resnet", weights=tmp_path / "with.pth", size=96, layers=["fc"])(
        batch
    )["fc"]
    assert np.allclose(logits, net(tensor(batch)).detach(), atol=1e-5)


def test_names_of_efficientnet_pytorch_are_known(timm, tmp_path):
    net = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    torch.save(other_names(net.state_dict()), tmp_path / "w.pth")
    name = "timm:tf_efficientnet_lite0"
    model = open_model(name, weights=tmp_path / "w.pth", size=64, layers=["classifier"])
    batch = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32)
    assert np.allclose(model(batch)["classifier"], net(tensor(batch)).detach(), atol=1e-5)
    assert open_model(name, weights=tmp_path / "w.pth", size=64)(batch)["features"].shape[1] == 1280


def other_names(state):
    """As EfficientNet-PyTorch has them: blocks counted one by one, and norms from 0 on."""
    blocks = list(dict.fromkeys(".".join(k.split(".")[:3]) for k in state if k[:6] == "blocks"))
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
               "classifier": "_fc"}  # fmt: skip
    wide = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
            "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    renamed = {}
    for name, value in state.items():
        first, *rest = name.split(".")
        if first != "blocks":
            renamed[".".join([outside[first], *rest])] = value
            continue
        block = ".".join(name.split(".")[:3])
        table = wide if f"{block}.conv_pwl.weight" in state else plain
        part, last = name.split(".")[3:]
        renamed[f"_blocks.{blocks.index(block)}.{table[part]}.{last}"] = value
    return renamed


def test_timm_says_what_there_is_and_where_weights_go(timm, monkeypatch):
    with pytest.raises(OptionError, match="no model of that name; near it are .*'resnet18'"):
        open_model("timm:resnet19")
    with pytest.raises(OptionError, match="no weights of that name; there are .*'resnet18.a1_in1k"):
        open_model("timm:resnet18.a9_in9k")
    create = timm.create_model

    def offline(*arguments, pretrained, **options):
        if pretrained:
            raise OSError("Name or service not known")
        return create(*arguments, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    message = r"not known\). Fetch model.safetensors of https://huggingface.co/timm/resnet18.*=FILE"
    with pytest.raises(ModelError, match=message):
        open_model("timm:resnet18.a1_in1k")


def test_random_numbers_of_the_caller_go_on_as_before(timm, caplog):
    caplog.set_level(logging.ERROR)
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    open_model("timm:test_resnet", weights="random")
    assert torch.equal(torch.rand(1), wanted)
