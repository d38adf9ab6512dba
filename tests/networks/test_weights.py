# SPDX-License-Identifier: Apache-2.0
import json
from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file

from spinefinder_fast.errors import WeightsError
from spinefinder_fast.networks import weights as module
from spinefinder_fast.networks.torchscript import _fold, compile_network, computes_bfloat16
from spinefinder_fast.networks.weights import (
    NetworkSpec,
    copy_network,
    load_model,
    load_network,
    read_manifest,
    save_network,
)

SPECS = {
    "detection": NetworkSpec("detection", 0.0625, 2.0),
    "identification": NetworkSpec("identification", 0.03125, 2.0),
}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    for spec in SPECS.values():
        save_network(spec.build(), spec, tmp_path, {"trained_on": "nothing"})
    return tmp_path


@pytest.mark.parametrize("kind", SPECS)
def test_what_was_saved_is_loaded(folder, kind):
    torch.manual_seed(1)
    network = SPECS[kind].build()
    save_network(network, SPECS[kind], folder)
    loaded, spec = load_network(kind, folder)
    assert spec == SPECS[kind]
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def test_a_model_is_both_networks_and_named_by_their_hashes(folder):
    model = load_model(folder)
    networks = read_manifest(folder)["networks"]
    assert model.spacing_mm == 2.0
    assert model.id.split("+") == [networks[k]["sha256"][:8] for k in SPECS]
    assert model.detection(torch.zeros(1, 1, 16, 16, 16, dtype=model.dtype)).shape == (1, 2, 16, 16, 16)


def test_the_slice_step_is_stored_and_without_one_it_is_the_papers(folder):
    assert load_model(folder).slice_step == 1
    wide = NetworkSpec("identification", 0.03125, 2.0, slice_step=4)
    save_network(wide.build(), wide, folder)
    network, spec = load_network("identification", folder)
    assert spec == wide
    assert network.slice_step == load_model(folder).slice_step == 4
    manifest = read_manifest(folder)
    del manifest["networks"]["identification"]["slice_step"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load_model(folder).slice_step == 1


@pytest.mark.parametrize(("kind", "step"), [("identification", 0), ("detection", 2)])
def test_a_slice_step_that_makes_no_sense_is_named(kind, step):
    with pytest.raises(ValueError, match=f"slice_step is {step}"):
        NetworkSpec(kind, 0.25, 2.0, slice_step=step)


def test_any_flipped_bit_is_refused(folder):
    file = folder / "detection.safetensors"
    data = bytearray(file.read_bytes())
    for position in (0, 9, len(data) // 2, len(data) - 1):
        data[position] ^= 1
        file.write_bytes(data)
        with pytest.raises(WeightsError, match="E_WEIGHTS_HASH"):
            load_model(folder)
        data[position] ^= 1


def test_truncated_and_missing_files_are_refused(folder):
    file = folder / "identification.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="E_WEIGHTS_HASH"):
        load_model(folder)
    file.unlink()
    with pytest.raises(WeightsError, match="E_WEIGHTS_MISSING"):
        load_model(folder)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="E_WEIGHTS_MISSING"):
        load_model(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="E_WEIGHTS_FORMAT"):
        load_model(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(WeightsError, match="E_WEIGHTS_VERSION"):
        load_model(tmp_path)


def rewrite(folder, kind, change):
    """Change a network's tensors and make the manifest agree, as a wrong but undamaged file would."""
    import hashlib

    from safetensors.torch import load_file

    file = folder / f"{kind}.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["networks"][kind]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("unet.last.bias"),
        lambda t: t.update(extra=torch.zeros(1)),
        lambda t: t.update({"unet.last.bias": torch.zeros(3)}),
        lambda t: t.update({"unet.last.bias": torch.full((2,), torch.nan)}),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_tensors_that_do_not_fit_are_refused(folder, change):
    rewrite(folder, "detection", change)
    with pytest.raises(WeightsError, match="E_WEIGHTS_TABLE"):
        load_model(folder)


def test_networks_may_work_on_different_grids_but_not_on_different_intensities(folder):
    save_network(SPECS["identification"].build(), NetworkSpec("identification", 0.03125, 1.0), folder)
    model = load_model(folder)
    assert (model.spacing_mm, model.detection_spacing_mm) == (1.0, 2.0)
    save_network(SPECS["identification"].build(), NetworkSpec("identification", 0.03125, 1.0, "zscore"), folder)
    with pytest.raises(WeightsError, match="train both alike"):
        load_model(folder)


def test_a_coarse_network_is_loaded_where_there_is_one(folder):
    assert load_model(folder).coarse is None
    spec = NetworkSpec("coarse", 0.0625, 6.0)
    save_network(spec.build(), spec, folder)
    model = load_model(folder)
    assert model.coarse is not None
    assert model.coarse_spacing_mm == 6.0
    assert model.id.count("+") == 2
    other = NetworkSpec("coarse", 0.0625, 6.0, "zscore")
    save_network(other.build(), other, folder)
    with pytest.raises(WeightsError, match="coarse works on zscore"):
        load_model(folder)


def test_a_network_is_copied_with_what_is_said_of_it(folder, tmp_path):
    copy_network("detection", folder, tmp_path / "copy")
    here, there = (read_manifest(place)["networks"] for place in (folder, tmp_path / "copy"))
    assert there == {"detection": here["detection"]}
    assert (tmp_path / "copy" / "detection.safetensors").read_bytes() == (folder / "detection.safetensors").read_bytes()


def test_bfloat16_is_for_the_networks_that_find_the_spine_and_where_it_is_fast(folder, monkeypatch):
    assert load_model(folder, precision="float32").dtype == torch.float32
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(module, "computes_bfloat16", lambda device, able=able: able)
        model = load_model(folder)
        assert model.dtype == dtype
        x = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(3))
        assert model.detection(x.to(dtype)).dtype == dtype
        assert model.identification(torch.zeros(1, 8, 16, 16)).dtype == torch.float32
    with pytest.raises(ValueError, match="half"):
        load_model(folder, precision="half")


def test_batch_normalisation_is_folded_before_it_is_rounded():
    # Statistics as a training leaves them; fresh ones are 0 and 1, which any type holds.
    generator = torch.Generator().manual_seed(3)
    network = SPECS["detection"].build().eval()
    for module_ in network.modules():
        if isinstance(module_, torch.nn.BatchNorm3d):
            module_.running_mean.normal_(0, 2, generator=generator)
            module_.running_var.uniform_(0.2, 5, generator=generator)
            module_.weight.data.uniform_(0.5, 1.5, generator=generator)
            module_.bias.data.normal_(0, 0.5, generator=generator)
    x = torch.randn(1, 1, 32, 32, 32, generator=generator)
    with torch.inference_mode():
        plain = network(x)
        rounded = deepcopy(network).bfloat16()(x.bfloat16()).float()
        compiled = compile_network(deepcopy(network))(x)
        half = compile_network(deepcopy(network), torch.bfloat16)(x.bfloat16()).float()
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)
    assert 0 < (half - plain).abs().mean() < 1.3 * (rounded - plain).abs().mean()
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in _fold(deepcopy(network)).modules())


def test_a_gpu_without_bfloat16_is_known_by_itself(monkeypatch):
    able = {"cuda:0": (8, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", able.__getitem__)
    assert [computes_bfloat16(device) for device in able] == [True, False]
