import numpy as np
import torch

from learning.allocator.training.joint.pcgrad import (
    conflict_share,
    flat,
    project_conflicts,
    unflat,
)


def test_agreeing_gradients_are_summed_unchanged() -> None:
    gradients = torch.tensor([[1.0, 0.0, 0.5], [0.5, 2.0, 0.0], [0.0, 0.0, 1.0]])
    summed, conflicts = project_conflicts(gradients, np.random.default_rng(0))
    torch.testing.assert_close(summed, gradients.sum(dim=0))
    assert conflicts == 0.0


def test_two_conflicting_gradients_each_lose_what_points_against_the_other() -> None:
    # by hand: a.b = -1, |a|^2 = 1, |b|^2 = 2; a + b/2 = (0.5, 0.5), b + a = (0, 1)
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    summed, conflicts = project_conflicts(gradients, np.random.default_rng(0))
    torch.testing.assert_close(summed, torch.tensor([0.5, 1.5]))
    assert conflicts == 1.0


def test_projected_gradient_of_a_pair_harms_neither_task() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        gradients = torch.from_numpy(rng.standard_normal((2, 6)))
        summed, _ = project_conflicts(gradients, rng)
        assert bool((gradients @ summed >= -1e-9).all())


def test_opposite_gradients_cancel() -> None:
    gradients = torch.tensor([[2.0, -1.0], [-4.0, 2.0]])
    summed, _ = project_conflicts(gradients, np.random.default_rng(0))
    torch.testing.assert_close(summed, torch.zeros(2))


def test_head_without_a_gradient_changes_nothing() -> None:
    gradients = torch.tensor([[0.0, 0.0], [-1.0, 1.0]])
    summed, conflicts = project_conflicts(gradients, np.random.default_rng(0))
    torch.testing.assert_close(summed, gradients[1])
    assert conflicts == 0.0


def test_share_of_conflicts_counts_pairs() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0]])
    assert abs(conflict_share(gradients) - 1 / 3) < 1e-6
    assert conflict_share(gradients[:1]) == 0.0


def test_same_seed_projects_in_the_same_order() -> None:
    gradients = torch.from_numpy(np.random.default_rng(3).standard_normal((5, 4)))
    one, _ = project_conflicts(gradients, np.random.default_rng(9))
    two, _ = project_conflicts(gradients, np.random.default_rng(9))
    assert torch.equal(one, two)


def test_rows_come_back_in_their_parameters_shapes() -> None:
    like = [torch.arange(6.0).reshape(2, 3), torch.tensor([7.0])]
    back = unflat(flat(like), like)
    assert all(torch.equal(a, b) for a, b in zip(like, back, strict=True))
