"""Every objective is one number an image, with the derivative that autograd gives, and draws only if it is random."""

import pytest
import torch
from objective_cases import DRAW, LOGITS, OBJECTIVES, TARGET, cotangent, value

from gradlens.probes.objectives import evaluate

each_objective = pytest.mark.parametrize("name", OBJECTIVES)


@each_objective
def test_objective_is_one_number_an_image(name):
    values, rows = value(name), [slice(i, i + 1) for i in range(6)]
    assert values.shape == (6,)
    alone = torch.cat([value(name, LOGITS[row], TARGET[row], DRAW[row]) for row in rows])
    assert torch.equal(values, alone)


@each_objective
def test_cotangent_is_the_central_difference(name):
    step, differences = 1e-5, torch.empty_like(LOGITS)
    for k, nudge in enumerate(step * torch.eye(5, dtype=torch.float64)):
        up, down = (value(name, LOGITS + sign * nudge) for sign in (1, -1))
        differences[:, k] = (up - down) / (2 * step)
    torch.testing.assert_close(cotangent(name, LOGITS, TARGET, DRAW), differences, rtol=0, atol=1e-9)


def test_only_what_is_random_costs_a_draw():
    """A draw is a hash and a generator an image, which an attack would pay at every step."""
    drawn = []
    for spec in (*OBJECTIVES, "sampled_logit:temperature=2"):
        evaluate(spec, LOGITS, TARGET, lambda spec=spec: drawn.append(spec) or DRAW)
    assert drawn == ["sampled_logit", "sampled_logit:temperature=2"]
