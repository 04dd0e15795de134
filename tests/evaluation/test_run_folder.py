"""A run can be killed, shared out over processes and machines, and started again: the pictures are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

import concept_edit as ce
from concept_edit.evaluation import Instruments, Settings
from concept_edit.evaluation.folder import RunFolder
from concept_edit.evaluation.processes import own_device
from concept_edit.evaluation.rows import rows_from
from concept_edit.models import placement
from concept_edit.notes import DeviceWarning

ROWS = rows_from(["a red apple", "a village by Van Gogh", "nothing at all"], (1, 2))
FAST = Settings(steps=2)
SETTINGS = {"all": {"model": "m", "steps": 2}, "after": {"edit": "e"}}

SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
import tiny, torch
torch.set_num_threads(1)
import concept_edit as ce
from test_run_folder import ROWS, FAST, run
model = tiny.tiny_model("sd1")
if {slow}:
    paint = model.generate
    def generate(*given, **more):
        import time
        time.sleep(0.3)
        return paint(*given, **more)
    model.generate = generate
print(run(model, {out!r}).to_markdown())
"""


def solved(model):
    return ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], method="uce"))


def run(model, out, **more):
    return ce.evaluate(model, solved(model), ROWS, out=out, instruments=Instruments(), settings=FAST, **more)


def pictures(root):
    """Pixels of every picture of a run."""
    found = {}
    for path in sorted(Path(root).glob("*/*.png")):
        with Image.open(path) as image:
            found[f"{path.parent.name}/{path.name}"] = image.tobytes()
    return found


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    return root, run(model, root)


def counted(model, monkeypatch):
    painted = []
    paint = model.generate

    def generate(prompts, seeds, **more):
        painted.extend(zip(prompts, seeds, strict=True))
        return paint(prompts, seeds, **more)

    monkeypatch.setattr(model, "generate", generate)
    return painted


def test_before_and_after_have_every_row(whole):
    root, report = whole
    assert len(pictures(root)) == 2 * len(ROWS)
    assert report.rows == len(ROWS)


def test_a_finished_run_paints_nothing_again(model, whole, monkeypatch):
    root, report = whole
    painted = counted(model, monkeypatch)
    assert run(model, root).figures == report.figures
    assert painted == []


def test_damaged_missing_and_foreign_pictures_are_painted_again(model, whole, monkeypatch, tmp_path):
    root, _ = whole
    before = pictures(root)
    files = sorted(root.glob("after/*.png"))
    files[0].write_bytes(files[0].read_bytes()[:200])
    files[1].unlink()
    Image.new("RGB", (64, 64)).save(files[2])
    files[3].write_bytes(files[4].read_bytes())
    painted = counted(model, monkeypatch)
    run(model, root)
    assert len(painted) == 4
    assert pictures(root) == before


def test_shares_are_disjoint_and_together_the_whole(model, whole, tmp_path, monkeypatch):
    root, report = whole
    for share in ("1/3", "2/3", "3/3"):
        part = run(model, tmp_path / "run", shard=share)
        assert part.rows == 2
        assert part.share == share.replace("/", "-of-")
    painted = counted(model, monkeypatch)
    assert run(model, tmp_path / "run").figures == report.figures
    assert painted == []
    assert pictures(tmp_path / "run") == pictures(root)


def test_limit_takes_the_first_rows(model, tmp_path):
    assert run(model, tmp_path, limit=2).rows == 2
    assert len(pictures(tmp_path)) == 4


def test_batches_change_a_picture_by_rounding_at_most(model, whole, tmp_path):
    root, _ = whole
    settings = Settings(steps=2, batch_size=4)
    ce.evaluate(model, solved(model), ROWS, out=tmp_path, instruments=Instruments(), settings=settings)
    one, four = pictures(root), pictures(tmp_path)
    assert one.keys() == four.keys()
    for name, pixels in one.items():
        assert max(abs(a - b) for a, b in zip(pixels, four[name], strict=True)) <= 2


def test_a_folder_of_another_run_is_refused_and_named(model, whole):
    root, _ = whole
    with pytest.raises(ValueError, match=r"other settings .*steps: there 2, here 3"):
        ce.evaluate(model, solved(model), ROWS, out=root, instruments=Instruments(), settings=Settings(steps=3))
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("apple")], method="uce"))
    with pytest.raises(ValueError, match="edit: there"):
        ce.evaluate(model, other, ROWS, out=root, instruments=Instruments(), settings=FAST)


def test_the_model_is_as_it_was_after_a_run_that_was_stopped(model, tmp_path):
    before = {name: weight.clone() for name, weight in model.weights().items()}

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, progress=stop)
    assert len(pictures(tmp_path)) == len(ROWS) + 1, "nothing that was painted is lost"
    assert all(bool((weight == before[name]).all()) for name, weight in model.weights().items())


def test_results_are_append_only_and_survive_a_line_cut_short(tmp_path):
    folder = RunFolder(tmp_path, SETTINGS)
    folder.append({"a": 1})
    with folder.results.open("ab") as file:
        file.write(b'{"b": ')
    RunFolder(tmp_path, SETTINGS).append({"c": 3})
    assert list(folder.records()) == [{"a": 1}, {"c": 3}]


def test_a_picture_that_cannot_be_written_leaves_no_half_file(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, SETTINGS)
    folder.save("before", ROWS[0], Image.new("RGB", (8, 8)))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save("before", ROWS[1], Image.new("RGB", (8, 8)))
    assert [p.name for p in (tmp_path / "before").iterdir()] == [ROWS[0].file]


def script(tmp_path, out, *, slow=False):
    path = tmp_path / "job.py"
    here = Path(__file__).parent
    path.write_text(SCRIPT.format(tests=str(here.parent), here=str(here), out=str(out), slow=slow))
    return path


def environment():
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GLOO_SOCKET_IFNAME": "lo"}
    return os.environ | threads | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_a_killed_run_goes_on_where_it_stopped(model, whole, tmp_path, monkeypatch):
    """kill -9 while it paints; then the same run again, in this process."""
    out = tmp_path / "run"
    job = subprocess.Popen([sys.executable, str(script(tmp_path, out, slow=True))], env=environment())
    give_up = time.monotonic() + 240
    while len(list(out.glob("*/*.png"))) < 3 and job.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    there = len(pictures(out))
    assert 3 <= there < 2 * len(ROWS)
    painted = counted(model, monkeypatch)
    assert run(model, out).figures == whole[1].figures
    assert len(painted) == 2 * len(ROWS) - there
    assert pictures(out) == pictures(whole[0])


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_shares_the_rows_out(whole, tmp_path, processes):
    """`--multi_gpu` starts the processes; with no GPU in sight they meet over gloo on the CPU."""
    out = tmp_path / "run"
    several = ["--multi_gpu"] if processes > 1 else ["--cpu"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run([*launch, str(script(tmp_path, out))], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(whole[1].to_markdown()) == processes, "every process reports on all rows"
    assert pictures(out) == pictures(whole[0])
    shares = {path.name for path in out.glob("results.*.jsonl")}
    assert shares == {f"results.{i + 1}-of-{processes}.jsonl" for i in range(processes)}
    painted = [sum('"sha256"' in line for line in path.read_text().splitlines()) for path in out.glob("results.*")]
    assert painted == [2 * len(ROWS) // processes] * processes
    assert json.loads((out / "run.json").read_text())["all"]["steps"] == 2


def test_each_launched_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert own_device("cuda") == "cuda"
    assert own_device("auto") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [own_device(device) for device in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
    placement._tell.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(DeviceWarning):
        assert own_device("auto") == "cuda:1"
