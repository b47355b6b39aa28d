"""Ensembles: trained by consecutive seeds, gone on with bit for bit, worth what the mean of probabilities is worth."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
from test_train_loop import Signalled
from train_fakes import FakeNet, dataset, settings
from train_fakes import contents as run_contents

import tinyconv
from tinyconv import train
from tinyconv.errors import NetError

MEMBERS = 3
RECIPE = dict(epochs=2, ensemble=MEMBERS, seed=5)


def recipe(**changed):
    return dataclasses.replace(settings(), **{**RECIPE, **changed})


def begin(folder, **changed):
    return train.start(folder, stem="net", text=FakeNet().text, settings=recipe(**changed), data={"source": "fake"},
                       fingerprint=train.fingerprint(dataset()))


def run_all(folder, **callbacks):
    with begin(folder) as run:
        return train.train_ensemble(FakeNet, dataset(), run, **callbacks)


def go_on(folder, epochs=None, **callbacks):
    with train.resume(folder, epochs=epochs) as run:
        return train.train_ensemble(FakeNet, dataset(), run, **callbacks)


def contents(folder):
    found = {path.name: run_contents(path) for path in sorted(folder.glob("member-*"))}
    done = json.loads((folder / "log.jsonl").read_text())
    places = (done.pop("weights"), done.pop("seconds"), [member.pop("weights") for member in done["members"]])
    return found, (folder / "config.json").read_bytes(), done, len(places)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_all(folder)
    return contents(folder)


def test_members_are_runs_by_consecutive_seeds(tmp_path, whole):
    for number in range(1, MEMBERS + 1):
        folder = tmp_path / f"{number}"
        one = recipe(ensemble=1, seed=RECIPE["seed"] + number - 1)
        with train.start(folder, stem="", text=FakeNet().text, settings=one, data={"source": "fake"},
                         fingerprint=train.fingerprint(dataset())) as run:
            train.train(FakeNet(one.seed), dataset(), run)
        assert run_contents(folder) == whole[0][f"member-{number}"]


def test_done_is_of_the_mean_of_probabilities(tmp_path):
    events = []
    done = run_all(tmp_path / "run", on_event=events.append)
    assert [(event["member"], event["epoch"]) for event in events[:-1]] == [(m, e) for m in (1, 2, 3) for e in (1, 2)]
    assert events[-1] == done and len(done["weights"]) == len(done["members"]) == MEMBERS
    val = dataset().val
    for key, file in (("val_accuracy", "last"), ("best_val_accuracy", "best")):
        total = 0
        for number in range(1, MEMBERS + 1):
            net = FakeNet()
            path = tmp_path / "run" / f"member-{number}" / f"{file}.safetensors"
            net.load_weights(train.loop.weights.read(path)[0], str(path))
            p = net.evaluate(val.images, val.labels)[1]
            assert done["members"][number - 1][key] == (p.argmax(1) == val.labels).mean()
            total = total + p.astype("f8")
        assert done[key] == (total.argmax(1) == val.labels).mean()


@pytest.mark.parametrize("after", [1, 5, 11, 12, 13, 20, 24, 30, 35])
def test_interrupted_anywhere_it_goes_on_to_the_same_files(tmp_path, whole, after):
    with pytest.raises(train.Interrupted) as caught:
        run_all(tmp_path / "run", on_batch=Signalled(after))
    assert caught.value.folder == tmp_path / "run" and f"of member {caught.value.member};" in str(caught.value)
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("k", [3, 7, 12, 18])
def test_killed_and_gone_on(tmp_path, whole, k):
    """Killed before its k-th replacement of a file."""
    child = os.fork()
    if child == 0:
        left, replace = [k], os.replace

        def dying(*names):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(*names)

        os.replace = dying
        run_all(tmp_path / "run")
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    if (tmp_path / "run" / "config.json").exists():
        go_on(tmp_path / "run")
    else:
        run_all(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


def test_more_epochs_for_all_members(tmp_path):
    with begin(tmp_path / "a", epochs=1, schedule=("constant", {"warmup": 0})) as run:
        train.train_ensemble(FakeNet, dataset(), run)
    done = go_on(tmp_path / "a", epochs=3)
    assert done["epochs"] == 3 and [member["epochs"] for member in done["members"]] == [3] * MEMBERS
    again = go_on(tmp_path / "a")
    assert {**again, "seconds": 0} == {**done, "seconds": 0}


def test_without_validation_data(tmp_path):
    data = dataset(val=0)
    with train.start(tmp_path / "run", stem="net", text=FakeNet().text, settings=recipe(), data={},
                     fingerprint=train.fingerprint(data)) as run:
        done = train.train_ensemble(FakeNet, data, run)
    assert done["val_accuracy"] is None and done["members"][0]["val_accuracy"] is None


# -- in Python

TEXT = "conv 3x3 x4 -> bn -> relu -> pool global avg -> fc 3 -> softmax\ntrain { epochs 2; batch 10; seed 4 }"


def test_an_ensemble_in_python():
    rng = np.random.default_rng(0)
    x, labels = rng.integers(0, 256, (40, 6, 6, 1), np.uint8), np.arange(40) % 3
    nets = [tinyconv.compile(TEXT, input="6x6 x1", seed=seed) for seed in (1, 2)]
    ensemble = tinyconv.Ensemble(nets)
    histories = ensemble.fit(x, labels, lr=0.1)
    assert [len(history) for history in histories] == [2, 2]
    alone = tinyconv.compile(TEXT, input="6x6 x1", seed=2)
    assert alone.fit(x, labels, lr=0.1, seed=5)[-1]["train_loss"] == histories[1][-1]["train_loss"]
    assert np.array_equal(alone(x), nets[1](x))
    assert ensemble(x).dtype == np.float32
    np.testing.assert_allclose(ensemble(x), (nets[0](x) + nets[1](x)) / 2, rtol=1e-6)
    assert np.array_equal(ensemble(x.transpose(0, 3, 1, 2), layout="NCHW"), ensemble(x))


def test_nets_that_do_not_go_together():
    nets = [tinyconv.compile(f"conv 3x3 x{n}", input="6x6 x1") for n in (3, 4)]
    with pytest.raises(NetError, match="6x6 x1 -> 6x6 x3 and 6x6 x1 -> 6x6 x4"):
        tinyconv.Ensemble(nets)
    with pytest.raises(NetError, match="no nets"):
        tinyconv.Ensemble([])
