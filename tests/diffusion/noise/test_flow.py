"""Rectified flow: straight lines are followed exactly, and the steps are those of diffusers' scheduler."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from tasks.diffusion.noise import noise_process, scheduler_for
from tasks.diffusion.noise.flow import Flow

LATENTS, NOISE = (torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


@pytest.fixture(params=[1.0, 3.0], ids=["even", "shifted"])
def flow(request: pytest.FixtureRequest) -> Flow:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=request.param)
    found = noise_process(scheduler_for(scheduler, "a model"))
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize("count", [1, 7, 50])
def test_the_true_velocity_leads_from_noise_to_the_picture_and_back(flow: Flow, count: int) -> None:
    velocity = flow.target(LATENTS, NOISE, torch.tensor([3, 900]))
    latents, steps = NOISE, flow.steps(count)
    assert len(steps) == count and float(steps[0].before) == pytest.approx(1) and float(steps[-1].after) == 0
    for step in steps:
        latents = flow.step(latents, velocity, step)
        torch.testing.assert_close(latents, flow.noisy(LATENTS, NOISE, step.after), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(latents, LATENTS, atol=1e-5, rtol=1e-5)
    for step in reversed(steps):
        latents = flow.step_back(latents, velocity, step)
    torch.testing.assert_close(latents, NOISE, atol=1e-5, rtol=1e-5)


def test_a_step_is_the_schedulers(flow: Flow) -> None:
    theirs = FlowMatchEulerDiscreteScheduler.from_config(flow.scheduler.config)
    theirs.set_timesteps(5)
    ours = expected = NOISE
    for step, timestep in zip(flow.steps(5), theirs.timesteps, strict=True):
        assert step.timestep == pytest.approx(float(timestep))
        prediction = torch.tanh(ours)
        ours = flow.step(ours, prediction, step)
        expected = theirs.step(torch.tanh(expected), timestep, expected).prev_sample
    torch.testing.assert_close(ours, expected)


def test_noise_is_added_on_a_straight_line(flow: Flow) -> None:
    noisy = flow.add_noise(LATENTS, NOISE, torch.tensor([0, 250]))
    assert torch.equal(noisy[0], LATENTS[0])
    torch.testing.assert_close(noisy[1], 0.75 * LATENTS[1] + 0.25 * NOISE[1])


@pytest.mark.parametrize(("tokens", "shift"), [(256, 0.5), (4096, 1.15), (1024, 0.63)])
def test_a_dynamic_shift_depends_on_the_pictures_tokens(tokens: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    flow = noise_process(scheduler, tokens, lambda steps: [1 - index / steps for index in range(steps)])
    assert isinstance(flow, Flow) and flow.mu == pytest.approx(shift)
    steps = flow.steps(4)
    odds = [float(step.before / (1 - step.before)) for step in steps[1:]]
    assert odds == pytest.approx([flow.shift * even / (1 - even) for even in (0.75, 0.5, 0.25)], rel=1e-4)
    assert flow.shift == pytest.approx(math.exp(shift))


def test_training_sees_the_middle_of_the_schedule_most_often(flow: Flow) -> None:
    """Logit-normal: the normal distribution's quantiles are the logarithms of the odds, before the shift."""
    timesteps = flow.timesteps(torch.tensor([0.0, 0.15865525, 0.5, 0.84134475, 1.0]))
    odds = timesteps / (1000 - timesteps)
    torch.testing.assert_close((odds[1:4] / flow.shift).log(), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-3, rtol=1e-3)
    assert 0 < timesteps[0] < timesteps[1] and timesteps[3] < timesteps[4] < 1000
