"""Seeds and grids: each training in its own folder, and the test split for the best alone."""

from __future__ import annotations

from trainings import WORDS

from gradlens.cli.main import main
from gradlens.training.train import Training


def test_seeds_and_grid_train_in_their_own_folders_and_only_the_best_sees_the_test_split(tmp_path, capsys, monkeypatch):
    seen = []
    scores = Training.test_scores

    def counted(self):
        if self.config.test_split:
            seen.append(str(self.config.out.relative_to(tmp_path)))
        return scores(self)

    monkeypatch.setattr(Training, "test_scores", counted)
    more = ["--seeds", "0-1", "--grid", "lr=1e-9,3e-2", "--eval-eps", "0", "--test-split", "test", "-o", str(tmp_path)]
    assert main([*WORDS, *more]) == 0
    said = capsys.readouterr().out
    folders = {str(f.parent.relative_to(tmp_path)) for f in tmp_path.rglob("last.pt")}
    assert folders == {f"lr={lr}/s{seed}" for lr in ("1e-9", "3e-2") for seed in (0, 1)}
    best = "lr=3e-2" if "best on val: lr=3e-2" in said else "lr=1e-9"
    assert seen == [f"{best}/s0", f"{best}/s1"]
    assert said.count("test_top1") == 2
    assert f"best on val: {best}, val_top1, mean of 2 seeds, " in said


def test_a_diverged_setting_does_not_end_the_grid(tmp_path, capsys):
    given = ["--opt", "sgd", "--sched", "constant", "--grid", "lr=1e30,1e-2", "--epochs", "3", "-o", str(tmp_path)]
    assert main([*WORDS, *given]) == 0
    said = capsys.readouterr().out
    assert "lr=1e30, seed 0: the loss diverged" in said
    assert "best on val: lr=1e-2" in said
