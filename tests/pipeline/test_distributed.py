"""Training in several real processes (gloo), and what becomes of it when they are killed, stopped or can't write."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

import tiny
from clsgen.artifacts import locked
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.errors import ArtifactError, ConfigError
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.launch import launch
from clsgen.pipeline.train import train_run
from clsgen.training import ranks
from clsgen.training.checkpoints import last_whole_checkpoint

STEPS, EVERY = 12, 4

FAULT = """
import os, signal, sys, time
from pathlib import Path
import clsgen.cli.train as command
from clsgen.training.trainer import DualTrainer
from transformers import TrainerCallback
what, at, which = sys.argv[1], int(sys.argv[2]), sys.argv[3]
mine = which in ("all", os.environ.get("RANK", "0"))

def fill(folder):
    # room for half a checkpoint is left on the disk
    size = sum(path.stat().st_size for path in (folder / "checkpoint-4").iterdir())
    with (folder.parent.parent / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            filler.truncate(filler.tell() - size // 2)

class Fault(command.TrainingDisplay):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == at and mine:
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "read-only":
                os.seteuid(65534)
            if what == "fill":
                fill(Path(args.output_dir))
            if what == "infinite":
                kwargs["model"].head.weight.data[0, 0] = float("inf")
            if what == "wait":
                Path(args.output_dir, "waits").touch()
                time.sleep(600)
            if what == "term":
                os.kill(os.getppid() if which == "all" and "RANK" in os.environ else os.getpid(), signal.SIGTERM)
                time.sleep(0.5)

if what == "kill-writing":
    write = DualTrainer._save_rng_state
    def killed(self, folder):
        if self.state.global_step == at and mine:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, folder)
    DualTrainer._save_rng_state = killed

if what == "term-preparing":
    import clsgen.pipeline.train as training
    prepared = training._prepared
    def told(config):
        if mine:
            os.kill(os.getppid() if which == "all" else os.getpid(), signal.SIGTERM)
        time.sleep(3)
        return prepared(config)
    training._prepared = told
if what == "term-beginning":
    import clsgen.pipeline.train as training
    begin = training._begin_all
    def told(*arguments, **options):
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(3)
        begin(*arguments, **options)
    training._begin_all = told
if what == "term-optimizer":
    create = DualTrainer.create_optimizer
    def told(self, *arguments):
        if mine:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return create(self, *arguments)
    DualTrainer.create_optimizer = told

command.TrainingDisplay = Fault
from clsgen.cli.main import main
sys.argv = ["clsgen", *sys.argv[4:]]
main()
"""


def small(output: Path, base: Path, *, dropout: float = 0.1, tuning: str = "lora", **train: object) -> RunConfig:
    """A LoRA run of 12 steps over more than one epoch, with dropout: the random state of each rank matters."""
    return RunConfig.model_validate(
        {
            "output": str(output),
            "data": {"task": "synthetic-notes", "num_rows": 100},
            "model": {
                "init": "pretrained",
                "backbone": str(base),
                "tuning": tuning,
                "max_length_tokens": 480,
                "max_explanation_tokens": 200,
                "lora": {"rank": 4, "dropout": dropout},
            },
            "train": {
                "max_steps": STEPS,
                "eval_steps": EVERY,
                "batch_size": 4,
                "precision": "float32",
                "num_monitor_explanations": 1,
                "patience": None,
                "log_steps": 1,
                "learning_rate": 0.01,
                **train,
            },
            "evaluate": {"num_bootstrap": 100},
        }
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("base") / "base")


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}


def train(settings: RunConfig, *options: object) -> subprocess.CompletedProcess:
    """`clsgen train` on the settings, in a process of its own."""
    return ran(train_command(settings, Path(f"{settings.output}.yaml"), *options))


def train_with(fault: tuple[str, int, str], settings: RunConfig, processes: int) -> subprocess.CompletedProcess:
    """The same with a fault; see `fault_command`."""
    return ran(fault_command(fault, settings, Path(f"{settings.output}.yaml"), processes))


def ran(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)


def train_command(settings: RunConfig, file: Path, *options: object) -> list[str]:
    """`clsgen train` on the settings, which are written to the file."""
    save_config(settings, file)
    return [sys.executable, "-m", "clsgen", "train", str(file), *map(str, options)]


def fault_command(fault: tuple[str, int, str], settings: RunConfig, file: Path, processes: int) -> list[str]:
    """A training with a fault of (kind, step, rank); several processes are started as `--launch` starts them."""
    save_config(settings, file)
    program = file.with_suffix(".py")
    program.write_text(FAULT)
    command = [sys.executable, str(program), *map(str, fault), "train", str(file)]
    if processes > 1:
        starter = "import sys; from clsgen.pipeline.launch import launch; "
        starter += f"sys.exit(launch(sys.argv[1:], num_processes={processes}))"
        command = [sys.executable, "-c", starter, *command]
    return command


def in_processes(number: int) -> list[object]:
    """The options that start so many."""
    return ["--launch", "accelerate", "--num-processes", number] if number > 1 else []


def assert_same_model(first: Path, second: Path, *, tolerance: float) -> None:
    """Weights, calibrator and threshold of two runs."""
    files = sorted(path.name for path in (first / "model").glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        one, other = (load_file(run / "model" / file) for run in (first, second))
        assert one.keys() == other.keys()
        worst = max(float((one[name] - other[name]).abs().max()) for name in one)
        assert worst <= tolerance
        assert max(float(tensor.abs().max()) for tensor in one.values()) > 0
    for file in ("calibrator.json", "decision.json"):
        one, other = (numbers(json.loads((run / "model" / file).read_text())) for run in (first, second))
        assert one == pytest.approx(other, abs=max(tolerance, 1e-300) * 10)
    one, other = (evaluations(run) for run in (first, second))
    assert [entry["step"] for entry in one] == [entry["step"] for entry in other]
    for left, right in zip(one, other, strict=True):
        assert left["eval_loss"] == pytest.approx(right["eval_loss"], abs=tolerance * 10)


def numbers(value) -> list[float]:
    """Every number of a JSON value, in order."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def evaluations(run: Path) -> list[dict]:
    history = json.loads((run / "manifest.json").read_text())["history"]
    return [entry for entry in history if "eval_loss" in entry]


# ---- two processes are one ----


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_two_processes_end_where_one_does(tmp_path, base, tuning):
    """Over epochs whose last batches do not go into two: twice the accumulation in one process is the same run.

    Activations are computed anew in the two: another order of sums, whose rounding Adam's first steps make as large as
    the learning rate.
    """
    rate = {"learning_rate": 1e-3, "dropout": 0.0, "tuning": tuning}
    one = small(tmp_path / "one", base, gradient_accumulation=2, **rate)
    two = small(tmp_path / "two", base, gradient_checkpointing=True, **rate)
    done = train(one)
    assert done.returncode == 0, done.stderr
    num_batches = -(-sum(json.loads((tmp_path / "one/manifest.json").read_text())["rows"]["train"].values()) // 4)
    assert num_batches % 2 == 1, "the last step must have a batch for one process alone"
    assert num_batches / 2 < STEPS
    done = train(two, "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Calibrating") == 1, "one process tells"
    assert (last_whole_checkpoint(tmp_path / "two/checkpoints") / "rng_state_1.pth").is_file()
    assert_same_model(tmp_path / "one", tmp_path / "two", tolerance=1e-5)


@pytest.mark.slow
def test_torchrun_starts_it_as_well(tmp_path, base):
    settings = small(tmp_path / "r", base, max_steps=2, eval_steps=2)
    save_config(settings, tmp_path / "r.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "clsgen.cli"]
    options = {"capture_output": True, "text": True, "env": environment(GLOO_SOCKET_IFNAME="lo"), "timeout": 300}
    done = subprocess.run([*command, "train", str(tmp_path / "r.yaml")], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model: ") == 1
    assert (tmp_path / "r/model/clsgen.json").is_file()
    done = subprocess.run([*command, "train", str(tmp_path / "r.yaml")], **options)
    assert done.returncode != 0
    assert done.stderr.count("output must be a new run directory") == 1, "one process says what is wrong"


# ---- kills ----


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base) -> Path:
    """Two processes, uninterrupted."""
    settings = small(tmp_path_factory.mktemp("whole") / "r", base)
    done = train(settings, "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    return Path(settings.output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (("kill", 6, "1"), EVERY),
        (("kill", 6, "all"), EVERY),
        (("kill-writing", 8, "1"), EVERY),
        (("kill-writing", 8, "all"), EVERY),
    ],
)
def test_killed_ranks_and_resume_is_uninterrupted(tmp_path, base, whole, fault, found):
    """kill -9 of one rank or all, between two checkpoints and in the middle of writing one."""
    settings = small(tmp_path / "r", base)
    done = train_with(fault, settings, processes=2)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert "Traceback" not in done.stderr
    lost = "process 0 of 2 lost another one, which was killed or failed"
    assert done.stderr.count(lost) == (fault[2] != "all")
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == f"checkpoint-{found}"
    assert (tmp_path / "r/checkpoints/checkpoint-8").is_dir() == (fault[0] == "kill-writing")
    done = train(settings, "--resume", "--launch", "accelerate", "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    assert f"step {found + 1:>5}" in done.stdout
    assert f"step {found:>5}" not in done.stdout
    assert_same_model(whole, tmp_path / "r", tolerance=1e-6)


@pytest.mark.slow
def test_one_process_killed_while_writing_resumes_to_the_last_bit(tmp_path, base):
    runs = [small(tmp_path / name, base) for name in ("whole", "killed", "stopped")]
    assert train(runs[0]).returncode == 0
    done = train_with(("kill-writing", 8, "0"), runs[1], processes=1)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed/checkpoints/checkpoint-8/optimizer.pt").is_file()
    assert last_whole_checkpoint(tmp_path / "killed/checkpoints").name == "checkpoint-4"
    assert train(runs[1], "--resume").returncode == 0
    assert_same_model(tmp_path / "whole", tmp_path / "killed", tolerance=0.0)
    done = train_with(("term", 6, "0"), runs[2], processes=1)
    assert done.returncode == 0, done.stderr
    assert "stopped by SIGTERM after step 6, which is saved. Go on: the same command with --resume." in done.stdout
    assert last_whole_checkpoint(tmp_path / "stopped/checkpoints").name == "checkpoint-6"
    assert train(runs[2], "--resume").returncode == 0
    assert_same_model(tmp_path / "whole", tmp_path / "stopped", tolerance=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "1"])
def test_sigterm_saves_and_leaves_with_0(tmp_path, base, whole, which):
    """To the starter, which passes it on, or to one rank alone."""
    settings = small(tmp_path / "r", base)
    done = train_with(("term", 6, which), settings, processes=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Go on: the same command with --resume.") == 1
    assert not (tmp_path / "r/model").exists()
    stopped_at = int(last_whole_checkpoint(tmp_path / "r/checkpoints").name.rpartition("-")[2])
    assert stopped_at in (6, 7)
    assert train(settings, "--resume", "--launch", "accelerate", "--num-processes", 2).returncode == 0
    assert_same_model(whole, tmp_path / "r", tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "0", "1"])
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
def test_another_number_of_processes_goes_on(tmp_path, base):
    """Two processes begin, one goes on with twice the accumulation: the same steps over the same rows."""
    two = small(tmp_path / "whole", base, dropout=0.0)
    assert train(two, "--launch", "accelerate", "--num-processes", 2).returncode == 0
    begun = small(tmp_path / "r", base, dropout=0.0)
    assert train_with(("kill", 6, "all"), begun, processes=2).returncode == 128 + signal.SIGKILL
    refused = train(begun, "--resume")
    assert refused.returncode == 2
    assert "needs steps of 2 batches as before" in refused.stderr
    assert "Set train.gradient_accumulation=2." in refused.stderr
    refused = train(begun, "--resume", *in_processes(3))
    assert refused.returncode == 2
    assert "3 processes can't share. Start one of these numbers of them: 1, 2." in refused.stderr
    done = train(small(tmp_path / "r", base, dropout=0.0, gradient_accumulation=2), "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_model(tmp_path / "whole", tmp_path / "r", tolerance=1e-5)


# ---- disks and files ----


@pytest.fixture(scope="module")
def alone(tmp_path_factory, base) -> Path:
    """One process, uninterrupted."""
    settings = small(tmp_path_factory.mktemp("alone") / "r", base)
    assert train(settings).returncode == 0
    return Path(settings.output)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "which"), [(1, "0"), (2, "all"), (2, "1")])
def test_a_folder_that_became_read_only_leaves_the_earlier_checkpoint(tmp_path, base, processes, which):
    """For every process, or for the second one alone, whose part the first one then does not seal."""
    if os.geteuid():
        pytest.skip("needs root: the process gives its rights up in the middle")
    tmp_path.chmod(0o755)
    settings = small(tmp_path / "r", base)
    done = train_with(("read-only", 6, which), settings, processes=processes)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("checkpoint-8 must be written") == 1, "one process says what is wrong"
    assert "Permission denied" in done.stderr
    assert "free some space or mend the folder's rights, then run the same command with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "r/checkpoints").iterdir()] == ["checkpoint-4"]
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == "checkpoint-4"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, base, alone, whole, processes):
    """A file system of its own, with room for half of the second checkpoint; then with room again."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs a namespace of its own: root, or kernel.unprivileged_userns_clone=1")
    disk, file = tmp_path / "disk", tmp_path / "r.yaml"
    disk.mkdir()
    settings = small(disk / "r", base)
    script = f"""
        mount -t tmpfs -o size=64m none {disk} || exit 90
        {shlex.join(fault_command(("fill", 6, "0"), settings, file, processes))}; echo "first: $?"
        ls {disk}/r/checkpoints; echo "listed"
        rm {disk}/filler
        {shlex.join(train_command(settings, file, "--resume", *in_processes(processes)))}; echo "second: $?"
        cp -r {disk}/r {tmp_path}/copy
    """
    done = ran([*unshare, "sh", "-c", script])
    assert "first: 2\ncheckpoint-4\nlisted\n" in done.stdout, done.stdout + done.stderr
    assert done.stderr.count("checkpoint-8 must be written") == 1, "one process says what is wrong"
    assert "free some space or mend the folder's rights, then run the same command with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = done.stdout.partition("listed")[2]
    assert "step     5" in resumed
    assert "step     4" not in resumed
    assert "second: 0" in resumed, done.stderr
    assert_same_model(alone if processes == 1 else whole, tmp_path / "copy", tolerance=0.0 if processes == 1 else 1e-6)


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


# ---- one run directory, one training ----


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


@pytest.mark.slow
def test_of_two_trainings_at_once_one_goes_on_and_one_says_why_not(tmp_path, base, alone):
    settings = small(tmp_path / "r", base)
    command = train_command(settings, tmp_path / "r.yaml")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    (refused,) = [error for error, process in zip(errors, both, strict=True) if process.returncode]
    # the second message is that of a start which came when the other one had written its settings
    assert "another process is training in this run directory" in refused or "must be a new run directory" in refused
    assert refused.count("clsgen: error") == 1
    assert "Traceback" not in refused
    assert_same_model(alone, tmp_path / "r", tolerance=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_training_frees_its_run(tmp_path, base, alone, whole, processes):
    """While it stands still nothing else trains there; kill -9 is enough for the next one."""
    settings = small(tmp_path / "r", base)
    command = fault_command(("wait", 6, "0"), settings, tmp_path / "r.yaml", processes)
    first = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "r/checkpoints/waits").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        pids = children_of(first.pid) if processes > 1 else [first.pid]
        assert len(pids) == processes
        done = train(settings, "--resume", *in_processes(processes))
        assert done.returncode == 2
        assert done.stderr.count("another process is training in this run directory") == 1
        assert done.stderr.count("clsgen: error") == 1
        assert "Traceback" not in done.stderr
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    assert train(settings, "--resume", *in_processes(processes)).returncode == 0
    assert_same_model(alone if processes == 1 else whole, tmp_path / "r", tolerance=0.0 if processes == 1 else 1e-6)


def children_of(parent: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


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


# ---- the starter ----


def test_where_one_process_fails_the_others_are_ended(tmp_path):
    program = "import os, sys, time; time.sleep(60 if os.environ['RANK'] == '0' else 0); sys.exit(7)"
    started = time.monotonic()
    assert launch([sys.executable, "-c", program], num_processes=2) == 7
    assert time.monotonic() - started < 30


def test_every_process_knows_its_place(tmp_path):
    program = (
        "import os, pathlib, sys; e = os.environ; "
        "pathlib.Path(sys.argv[1], e['RANK']).write_text(' '.join(e[n] for n in "
        "('LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR')))"
    )
    assert launch([sys.executable, "-c", program, str(tmp_path)], num_processes=3) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(rank): f"{rank} 3 3 127.0.0.1" for rank in range(3)
    }


def test_a_process_that_was_killed_is_told_of():
    """By a signal of its own; one that all were sent is known to whoever sent it."""
    found: list[tuple[int, str]] = []
    program = (
        "import os, signal, time; os.environ['RANK'] == '1' and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)"
    )
    code = launch(
        [sys.executable, "-c", program], num_processes=2, on_killed=lambda rank, name: found.append((rank, name))
    )
    assert (code, found) == (128 + signal.SIGKILL, [(1, "SIGKILL")])
    found.clear()
    program = "import os, signal, time; time.sleep(1); os.kill(os.getppid(), 15); time.sleep(60)"
    code = launch(
        [sys.executable, "-c", program], num_processes=2, on_killed=lambda rank, name: found.append((rank, name))
    )
    assert (code, found) == (128 + signal.SIGTERM, [])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system tells of the starter's end")
def test_a_killed_starter_leaves_no_process_behind(tmp_path, base):
    """Its processes save a checkpoint and stop, as for SIGTERM."""
    settings = small(tmp_path / "r", base, max_steps=100_000)
    with (tmp_path / "told").open("w") as told:
        command = train_command(settings, tmp_path / "r.yaml", *in_processes(2))
        starter = subprocess.Popen(command, stdout=told, stderr=told, env=environment())
    try:
        wait_for(lambda: last_whole_checkpoint(tmp_path / "r/checkpoints") is not None)
    finally:
        starter.kill()
        starter.wait()
    wait_for(lambda: "Go on: the same command with --resume." in (tmp_path / "told").read_text())
    wait_for(lambda: is_free(tmp_path / "r/lock"))
    assert "stopped by SIGTERM after step" in (tmp_path / "told").read_text()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_free(lock: Path) -> bool:
    try:
        with locked(lock, doing="training"):
            return True
    except ArtifactError:
        return False


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT must then be set too"),
        ({"WORLD_SIZE": "two"}, "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT must then be set too"),
        (
            {"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "RANK must be a whole number; got 'x'",
        ),
    ],
)
def test_half_a_place_is_refused(monkeypatch, place, message):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        ranks.join()


def alone_at(port: int, *, seconds: float) -> subprocess.Popen:
    """The first of two processes, of which the other never comes; it waits so long for it."""
    program = (
        "import datetime, sys; from clsgen.training import ranks; from clsgen.cli.main import app; from clsgen.errors "
        f"import ClsgenError; ranks.MEET = datetime.timedelta(seconds={seconds}); print('waits', flush=True)\n"
        "try: ranks.join()\nexcept ClsgenError as error: sys.exit(str(error))"
    )
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env=environment(**place), **streams)


@pytest.mark.slow
def test_a_peer_that_never_comes_is_an_error_and_sigterm_ends_the_wait():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with alone_at(port, seconds=2) as waits:
        told = waits.communicate(timeout=100)[1]
    assert f"2 processes must meet at 127.0.0.1:{port} within" in told
    assert "Traceback" not in told
    with alone_at(port, seconds=600) as waits:
        assert waits.stdout.readline() == "waits\n"
        time.sleep(2)
        waits.terminate()
        assert waits.wait(timeout=20) == -signal.SIGTERM


def test_launch_within_launch_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="--launch starts the processes itself"):
        launch(["true"], num_processes=2)


def test_num_processes_without_launch_is_refused(tmp_path, command, base):
    save_config(small(tmp_path / "r", base), tmp_path / "r.yaml")
    ran = command("train", tmp_path / "r.yaml", "--num-processes", 2)
    assert ran.code == 2
    assert "--num-processes goes with --launch accelerate" in ran.err
    assert not RunFolder(tmp_path / "r").path.exists()


# ---- FSDP2 ----


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_spread_weights_end_where_one_process_does(tmp_path, base, tuning):
    rate = {"learning_rate": 1e-3, "dropout": 0.0, "tuning": tuning}
    one = small(tmp_path / "one", base, gradient_accumulation=2, **rate)
    spread = small(tmp_path / "spread", base, gradient_checkpointing=True, **rate)
    assert train(one).returncode == 0
    done = train(spread, "--launch", "accelerate", "--num-processes", 2, "--fsdp")
    assert done.returncode == 0, done.stderr
    assert "FSDP: no explanation is written while training" in done.stdout
    assert_same_model(tmp_path / "one", tmp_path / "spread", tolerance=1e-5)


@pytest.mark.slow
def test_a_checkpoint_of_spread_weights_is_resumed_by_one_process(tmp_path, base):
    """And one of two plain processes by spread ones: a checkpoint does not tell who wrote it."""
    sections = {"dropout": 0.0, "tuning": "full", "learning_rate": 1e-3}
    whole = small(tmp_path / "whole", base, gradient_accumulation=2, **sections)
    assert train(whole).returncode == 0
    spread = small(tmp_path / "r", base, fsdp=True, **sections)
    assert train_with(("kill", 6, "1"), spread, processes=2).returncode == 128 + signal.SIGKILL
    assert last_whole_checkpoint(tmp_path / "r/checkpoints").name == "checkpoint-4"
    alone = small(tmp_path / "r", base, gradient_accumulation=2, **sections)
    assert train(alone, "--resume").returncode == 0
    assert_same_model(tmp_path / "whole", tmp_path / "r", tolerance=1e-5)
    plain = small(tmp_path / "p", base, **sections)
    assert train_with(("kill", 6, "1"), plain, processes=2).returncode == 128 + signal.SIGKILL
    done = train(plain, "--resume", "--launch", "accelerate", "--num-processes", 2, "--fsdp")
    assert done.returncode == 0, done.stderr
    assert_same_model(tmp_path / "whole", tmp_path / "p", tolerance=1e-5)


@pytest.mark.parametrize(
    ("tuning", "message"), [("lora", "must be false in a run of one process"), ("full", "must be false")]
)
def test_one_process_has_nothing_to_spread_over(tmp_path, base, tuning, message):
    with pytest.raises(ConfigError, match=message):
        train_run(small(tmp_path / "r", base, tuning=tuning, fsdp=True))
    assert not (tmp_path / "r").exists()
