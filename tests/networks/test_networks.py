# SPDX-License-Identifier: Apache-2.0
import warnings

import pytest
import torch

from spinefinder_fast.networks.detection import DetectionNetwork
from spinefinder_fast.networks.identification import IdentificationNetwork
from spinefinder_fast.networks.torchscript import compile_network

SMALL = {
    "detection": (DetectionNetwork, (2, 1, 16, 16, 32), (2, 2, 16, 16, 32)),
    "identification": (IdentificationNetwork, (2, 8, 32, 48), (2, 1, 32, 48)),
}


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_detection_has_the_papers_number_of_parameters():
    assert parameters(DetectionNetwork()) == 5_887_826  # 5.89 million


def test_identification_has_the_papers_number_of_parameters():
    network = IdentificationNetwork()
    assert parameters(network) == 43_636_641  # 43.6 million
    assert round(parameters(network.unet.bottom) / 1e6, 1) == 39.3


def test_width_scales_every_level():
    assert parameters(DetectionNetwork(0.25)) == pytest.approx(5_887_826 / 16, rel=0.02)
    with pytest.raises(ValueError, match="larger width"):
        DetectionNetwork(0.01)


def made(kind):
    network_class, inputs, outputs = SMALL[kind]
    torch.manual_seed(0)
    network = network_class(0.25)
    network(torch.randn(inputs))  # running statistics that are not the initial ones
    return network.eval(), torch.randn(inputs), outputs


@pytest.mark.parametrize("kind", SMALL)
def test_eager_torchscript_and_export_agree(kind):
    network, x, outputs = made(kind)
    with torch.inference_mode():
        eager = network(x)
    assert eager.shape == outputs
    with torch.inference_mode():
        exported = torch.export.export(network, (x,)).module()(x)
        compiled = compile_network(network)(x)
    torch.testing.assert_close(exported, eager, rtol=1e-5, atol=1e-5)
    # Freezing folds batch normalisation into the convolutions, which rounds differently.
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", SMALL)
def test_compiling_warns_nobody(kind):
    network, _, _ = made(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_network(network)


def test_identification_never_goes_below_background():
    network, x, _ = made("identification")
    with torch.inference_mode():
        assert network(x).min() >= 0
