# SPDX-License-Identifier: Apache-2.0
from math import log

import pytest
import torch

from spinefinder_fast.networks.losses import detection_loss, dice_loss, identification_loss


def test_detection_loss_is_equation_1():
    logits = torch.zeros(1, 2, 1, 1, 4)
    logits[0, 1, 0, 0, 3] = 2.0
    truth = torch.tensor([0, 0, 5, 26]).reshape(1, 1, 1, 4)
    p = torch.sigmoid(torch.tensor(2.0)).item()
    by_hand = (0.1 * log(2) + 0.1 * log(2) + 0.9 * log(2) + 0.9 * -log(p)) / 4
    assert detection_loss(logits, truth).item() == pytest.approx(by_hand, rel=1e-6)


def test_identification_loss_is_equation_2():
    predicted = torch.tensor([[3.0, 7.5], [100.0, 25.0]]).reshape(1, 1, 2, 2)
    labels = torch.tensor([[4, 7], [0, 26]]).reshape(1, 2, 2)
    # |3-4|, |7.5-7| and |25-26| count; the background pixel, however wrong, does not.
    assert identification_loss(predicted, labels).item() == pytest.approx((1 + 0.5 + 1) / 3)


def test_identification_loss_of_background_alone_is_zero_with_a_gradient():
    predicted = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = identification_loss(predicted, torch.zeros(1, 2, 2, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert (predicted.grad == 0).all()


def test_the_dice_loss_of_a_perfect_answer_is_nothing_and_painting_too_much_costs():
    truth = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    truth[..., :2] = 5

    def logits(mask):
        return torch.stack([-20.0 * mask, 20.0 * mask], dim=1)

    perfect = dice_loss(logits(torch.where(truth != 0, 1.0, -1.0)), truth)
    assert perfect.item() == pytest.approx(0, abs=1e-3)
    # Everything painted: half of the voxels are wrong by 40, and Dice is 2 * 32 / (64 + 32).
    everything = dice_loss(logits(torch.ones(1, 4, 4, 4)), truth)
    assert everything.item() == pytest.approx(20 + 1 - 65 / 97, rel=1e-4)
