"""The workshop and the visit: one lane, visits apart, a stop that stops, sentences for errors."""

from __future__ import annotations

import copy
import gc
import logging
import threading
import time
from pathlib import Path

import pytest
import torch
from pages import QUICK, result, until

from concept_edit.recipe import Erase
from ui.workshop.session import BusyError, News, Settings, Stopped, Visit, Workshop, say, stoppable


def test_jobs_run_one_at_a_time_in_the_order_they_came_and_the_waiting_are_told():
    lane, order, told = Workshop(), [], []
    gate, entered = threading.Event(), threading.Event()

    def first(tell):
        entered.set()
        gate.wait(20)
        order.append("first")

    def run(name, visit):
        for news in lane.work(visit, lambda tell: order.append(name)):
            told.append((name, news.text))

    threads = [threading.Thread(target=lambda: result(lane.work(Visit(), first)))]
    threads[0].start()
    assert entered.wait(20)
    for place, name in enumerate(("second", "third"), 1):
        threads.append(threading.Thread(target=run, args=(name, Visit())))
        threads[-1].start()
        until(lambda name=name, place=place: (name, f"Waiting: {place} before you.") in told)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert order == ["first", "second", "third"]
    assert ("third", "Waiting: 2 before you.") in told


def test_all_jobs_run_on_one_thread_and_their_errors_come_out_of_it():
    """Memory is kept by thread, so a thread for each job would let the process grow with its visitors."""
    lane, threads = Workshop(), set()

    def job(tell):
        threads.add(threading.get_ident())

    def failing(tell):
        threads.add(threading.get_ident())
        raise ValueError("no such thing")

    callers = [threading.Thread(target=lambda: result(lane.work(Visit(), job))) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    with pytest.raises(ValueError, match="no such thing"):
        result(lane.work(Visit(), failing))
    result(lane.work(Visit(), job))
    assert len(threads) == 1


def test_cancel_while_waiting_leaves_the_line_to_the_others():
    lane, visit = Workshop(), Visit()
    with lane.lane(Visit()):
        news = lane.work(visit, lambda tell: pytest.fail("the job ran"))
        assert next(news).text == "Waiting: 1 before you."
        visit.cancel()
        with pytest.raises(Stopped):
            list(news)
    assert result(lane.work(Visit(), lambda tell: "free")) == "free"


def test_cancel_stops_within_one_denoising_step_and_the_weights_are_back(workshop, visit, small_edit):
    model = workshop.model("demo")
    before = {name: weight.clone() for name, weight in model.weights().items()}
    steps: list[int] = []

    def step(done: int) -> None:
        steps.append(done)
        if done == 3:
            visit.cancel()

    def job(tell):
        with stoppable(visit, model, step), small_edit.applied(model):
            model.generate("a cat", [0], steps=9)

    with pytest.raises(Stopped):
        list(workshop.work(visit, job))
    assert steps == [1, 2, 3]
    assert all(torch.equal(weight, before[name]) for name, weight in model.weights().items())
    assert not visit.busy


def test_cancel_stops_the_reading_of_prompts(workshop, visit):
    model = workshop.model("demo")
    visit.cancel()
    with pytest.raises(Stopped), stoppable(visit, model):
        model.encode(["a cat"])


def test_a_reader_that_goes_away_locks_nothing():
    lane, visit, done = Workshop(), Visit(), threading.Event()

    def job(tell):
        tell(News("begun"))
        time.sleep(0.05)
        done.set()

    news = lane.work(visit, job)
    assert next(news).text == "begun"
    news.close()
    del news
    assert done.wait(20)
    until(lambda: not visit.busy)
    assert result(lane.work(visit, lambda tell: 7)) == 7


def test_a_second_job_of_the_same_visit_is_refused_in_a_sentence():
    lane, visit = Workshop(), Visit()
    with lane.lane(Visit()):
        waiting = lane.work(visit, lambda tell: None)
        next(waiting)
        with pytest.raises(BusyError, match="your last job still runs"):
            next(lane.work(visit, lambda tell: None))
    assert result(waiting) is None


def test_a_closed_visit_does_no_more_work():
    visit = Visit()
    visit.close()
    with pytest.raises(Stopped):
        list(Workshop().work(visit, lambda tell: pytest.fail("the job ran")))


def test_copies_are_fresh_visits_with_folders_that_go_with_them(tmp_path):
    first = Visit()
    second = copy.deepcopy(first)
    assert second is not first
    assert second.edits is not first.edits
    (first.folder / "x").write_text("mine")
    folders = [first.folder, second.folder]
    assert folders[0] != folders[1]
    first.close()
    assert not folders[0].exists()
    del second
    gc.collect()
    assert not folders[1].exists()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Stopped(), "Stopped."),
        (torch.OutOfMemoryError("CUDA out of memory"), "half precision or CPU offload"),
        (MemoryError(), "ran out of memory"),
        (ValueError("/srv/secret/models/x.safetensors is not whole"), "X.safetensors is not whole."),
        (FileNotFoundError(2, "No such file", "/srv/secret/y.csv"), "No such file: y.csv."),
    ],
)
def test_every_error_is_one_sentence_without_the_servers_folders(error, sentence):
    said = say(error)
    assert sentence in said
    assert "\n" not in said
    assert "/srv" not in said


def test_an_unforeseen_error_is_a_sentence_and_its_traceback_is_in_the_log(caplog):
    with caplog.at_level(logging.ERROR):
        try:
            _ = [][1]
        except IndexError as error:
            said = say(error)
    assert said == "Something went wrong that was not foreseen (IndexError); the server's log tells more."
    assert "list index out of range" in caplog.text


def test_a_failed_check_names_the_field():
    with pytest.raises(ValueError, match="concept") as caught:
        Erase(" ")
    assert "a concept is empty" in say(caught.value)


@pytest.mark.parametrize("name", ["../demo", "/etc/passwd", "concept_edit/demo", "old.ckpt", "", "no such", "./x/y"])
def test_only_offered_models_and_hub_ids_are_opened(tmp_path, monkeypatch, name):
    (tmp_path / "old.ckpt").write_bytes(b"pickle")
    monkeypatch.chdir(Path(__file__).parents[2])
    for opened in (Workshop(Settings(checkpoint_folder=tmp_path)).model, Workshop().generator):
        with pytest.raises(ValueError, match="neither a model of this server nor a hub id"):
            opened(name)


def test_models_of_the_folder_are_opened_once_by_name_and_the_oldest_goes(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    opened = []

    def open_model(source, **options):
        opened.append((source, options))
        return type("Model", (), {"name": source})()

    monkeypatch.setattr("concept_edit.open_model", open_model, raising=False)
    workshop = Workshop(Settings(device="cpu", dtype="float16", checkpoint_folder=tmp_path))
    assert workshop.model_names()[-3:] == ["a.safetensors", "b.safetensors", "c.safetensors"]
    for name in ("a", "b", "c", "c", "b", "a"):
        assert workshop.model(f"{name}.safetensors").name == f"{name}.safetensors"
    assert [Path(source).name[0] for source, _ in opened] == ["a", "b", "c", "a"]
    assert opened[0][1] == {"device": "cpu", "dtype": "float16"}
    assert sorted(workshop.open()) == ["a.safetensors", "b.safetensors"]


def test_everything_is_opened_on_one_thread_whoever_asks(monkeypatch):
    """The libraries change torch for the whole process while they load; two loads at once leave weights on `meta`."""
    threads = []

    class Model:
        @property
        def pipeline(self):
            threads.append(threading.get_ident())

    def opened(*_, **__):
        threads.append(threading.get_ident())
        time.sleep(0.05)
        return Model()

    def generator(source, device):
        threads.append(threading.get_ident())
        return torch.nn.Linear(1, 1)

    monkeypatch.setattr("concept_edit.open_model", opened, raising=False)
    monkeypatch.setattr("styles.load_generator", generator, raising=False)
    workshop = Workshop(Settings(device="cpu"))
    warm = threading.Thread(target=workshop.warm)
    warm.start()
    result(workshop.work(Visit(), lambda tell: workshop.model("demo").pipeline))
    workshop.generator("demo")
    warm.join(20)
    assert len(threads) >= 4
    assert set(threads) == {workshop._worker._thread}
    assert workshop.model("demo") is workshop.model("demo")
    assert threads.count(threads[0]) == 4


def test_device_settings_are_checked():
    with pytest.raises(ValueError, match="offloading saves memory of a GPU and cpu is none"):
        Workshop(Settings(device="cpu", offload=True)).check()
    with pytest.raises(ValueError, match="is no device"):
        Workshop(Settings(device="toaster")).check()
    workshop = Workshop(Settings(device="cpu", dtype="bfloat16"))
    workshop.check()
    assert workshop.place() == "Runs on the processor (CPU), bfloat16"


def test_out_of_memory_is_a_sentence_and_the_lane_lives_on(workshop, visit):
    def job(tell):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(torch.OutOfMemoryError):
        list(workshop.work(visit, job))
    assert result(workshop.work(visit, lambda tell: QUICK)) is QUICK
