"""The loss of a picture is its own."""

import torch

from tasks.diffusion.objective import per_picture_loss


def test_loss_is_the_mean_square_of_each_picture() -> None:
    prediction, wanted = torch.zeros(2, 1, 2, 2), torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 4]]).view(2, 1, 2, 2)
    assert per_picture_loss(prediction, wanted).tolist() == [1.0, 4.0]
