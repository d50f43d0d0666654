"""What becomes of a training that is stopped early, fails, or finds its checkpoints changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from clsgen.artifacts import locked
from clsgen.errors import ArtifactError
from clsgen.pipeline.train import train_run
from clsgen.training.checkpoints import last_whole_checkpoint
from trainings import in_processes, small, train, train_with


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "1"])
def test_sigterm_before_the_first_step_leaves_with_0_and_no_run(tmp_path, base, which):
    """While they prepare: to the starter, or to one process, whose peers stop with it."""
    done = train_with(("term-preparing", 0, which), small(tmp_path / "r", base), processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped by SIGTERM; no step was under way. Nothing was written: run the same command again" in done.stdout
    assert done.stdout.count("stopped by SIGTERM") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_sigterm_while_one_process_waits_for_another_leaves_with_0(tmp_path, base):
    """The second one waits until the first has written what the run directory says."""
    done = train_with(("term-beginning", 0, "all"), small(tmp_path / "r", base), processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert not (tmp_path / "r/config.yaml").exists()
    assert train(small(tmp_path / "r", base, max_steps=1), *in_processes(2)).returncode == 0


@pytest.mark.slow
def test_sigterm_between_preparing_and_the_first_step_saves_that_step(tmp_path, base):
    done = train_with(("term-optimizer", 0, "1"), small(tmp_path / "r", base), processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped by SIGTERM after step 1, which is saved. Go on: the same command with --resume." in done.stdout
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == "checkpoint-1"


@pytest.mark.slow
def test_a_loss_of_one_process_that_is_not_finite_ends_all(tmp_path, base):
    done = train_with(("infinite", 6, "1"), small(tmp_path / "r", base), processes=2)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("the loss at step 7 must be finite") == 1
    assert [path.name for path in (tmp_path / "r/checkpoints").iterdir()] == ["checkpoint-4"]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "1"])
def test_a_folder_that_became_read_only_leaves_the_earlier_checkpoint(tmp_path, base, which):
    """For every process, or for the second one alone, whose part the first one then does not seal."""
    if os.geteuid():
        pytest.skip("needs root: the process gives its rights up in the middle")
    tmp_path.chmod(0o755)
    settings = small(tmp_path / "r", base)
    done = train_with(("read-only", 6, which), settings, processes=2)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("checkpoint-8 must be written") == 1, "one process says what is wrong"
    assert "Permission denied" in done.stderr
    assert "free some space or mend the folder's rights, then run the same command with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "r/checkpoints").iterdir()] == ["checkpoint-4"]
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == "checkpoint-4"


def test_the_best_checkpoint_is_refused_by_name_where_it_changed(tmp_path, base):
    """Whose weights the model is made of: it is not the newest one, and has been looked at by nobody since."""
    settings = small(tmp_path / "r", base, max_steps=4, eval_steps=1, num_monitor_explanations=0, learning_rate=0.5)
    run = train_run(settings)
    (run / "model").rename(tmp_path / "set-aside")
    newest = last_whole_checkpoint(run / "checkpoints")
    (best,) = [path for path in (run / "checkpoints").iterdir() if path != newest]
    content = bytearray((best / "model.safetensors").read_bytes())
    content[-2] ^= 1  # a number, and no other: the file is whole safetensors
    (best / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"altered: model.safetensors.*{best.name} is the best checkpoint"):
        train_run(settings, is_resumed=True)
    assert not (run / "model").exists()


def test_a_checkpoint_whose_files_changed_is_refused_by_name(tmp_path, base):
    settings = small(tmp_path / "r", base, max_steps=4, eval_steps=2, num_monitor_explanations=0)
    run = train_run(settings)
    (run / "model").rename(tmp_path / "set-aside")  # as if killed before the end
    newest = last_whole_checkpoint(run / "checkpoints")
    names = sorted(path.name for path in newest.iterdir() if path.name != "manifest.json")
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json"} == set(names)
    for name in names:
        content = (newest / name).read_bytes()
        middle = len(content) // 2
        for broken in (content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
            (newest / name).write_bytes(broken)
            with pytest.raises(ArtifactError, match=rf"altered: {name}.*delete checkpoint-4, to go on from the"):
                train_run(settings, is_resumed=True)
        (newest / name).write_bytes(content)
    (newest / "optimizer.pt").unlink()
    with pytest.raises(ArtifactError, match="missing: optimizer.pt"):
        train_run(settings, is_resumed=True)
    (newest / "manifest.json").unlink()  # never sealed: passed over
    train_run(settings, is_resumed=True)
    assert_same_weights(run, tmp_path / "set-aside")


def assert_same_weights(run: Path, model: Path) -> None:
    for file in ("adapter_model.safetensors", "head.safetensors"):
        one, other = load_file(run / "model" / file), load_file(model / file)
        assert all((one[name] == other[name]).all() for name in one)


def test_a_second_training_of_a_run_is_refused(tmp_path, base):
    settings = small(tmp_path / "r", base, max_steps=2, eval_steps=1, num_monitor_explanations=0)
    with locked(tmp_path / "r/lock", doing="training"):
        with pytest.raises(ArtifactError, match="another process is training in this run directory. Wait for it"):
            train_run(settings)
        assert [path.name for path in (tmp_path / "r").iterdir()] == ["lock"]
    run = train_run(settings)
    (run / "model").rename(tmp_path / "set-aside")
    with locked(run / "lock", doing="training"), pytest.raises(ArtifactError, match="another process is training"):
        train_run(settings, is_resumed=True)
    assert not (run / "model").exists()
    train_run(settings, is_resumed=True)
