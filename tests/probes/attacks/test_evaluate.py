"""What another package attacks is the model itself."""

import torch

from gradlens.probes.attacks import Evaluate
from gradlens.probes.probe import Probe


def test_the_logits_that_other_packages_attack_are_the_models(cnn, batch):
    evaluate, image = Evaluate(Probe(cnn, batch).at), batch.image[:5].clone().requires_grad_()
    weight = torch.randn(5, 10)
    (expected,) = torch.autograd.grad((cnn(image) * weight).sum(), image)
    found = evaluate.logits(image)
    torch.testing.assert_close(found, cnn(image))
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), image)[0], expected)
    assert not evaluate.logits(image.detach()).requires_grad
