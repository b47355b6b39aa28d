"""Whether net, data and settings go together; evaluation, ensembles and `fit` on a net in NumPy."""

import numpy as np
import pytest
from train_fakes import FakeNet, dataset, images, run_all, settings

from tinyconv import train
from tinyconv.data import Split
from tinyconv.errors import NetError


def check(net=None, data=None, recipe=None):
    notes = []
    net = net or FakeNet()
    train.check(net, data or dataset(), recipe or settings(), train.Pipelines.of(net), notes.append)
    return notes


def test_class_counts():
    with pytest.raises(NetError, match="fake has 4 classes, the net has 3\n.*-D classes=4"):
        check(data=dataset(classes=4))
    with pytest.raises(NetError, match="help: `-D classes=4` sets it"):
        check(FakeNet(text="let classes = 3\nfc classes"), dataset(classes=4))


def test_labels_out_of_range():
    for label in (3, -1):
        data = dataset()
        data.train.labels[7] = label
        with pytest.raises(NetError, match=f"sample 7 has label {label}; labels of this net go from 0 to 2"):
            check(data=data)


def test_images_of_another_shape():
    data = dataset()
    data.train = Split(np.zeros((5, 2, 2, 1), "u1"), np.zeros(5))
    with pytest.raises(NetError, match="2x2 x1.*4x4 x1.*\n.*add `resize 4 -> crop 4`"):
        check(data=data)
    padded = FakeNet(sections={"data": {"augment": [("pad", {"n": 1}, None)]}})
    assert check(padded, data, settings(batch=5)) == []
    data.val = data.train
    with pytest.raises(NetError, match="2x2 x1.*4x4 x1"):
        check(padded, data)


def test_empty_parts_large_batches_and_plateaus_without_validation():
    data = dataset()
    data.train = Split(np.zeros((0, 4, 4, 1), "u1"), np.zeros(0))
    with pytest.raises(NetError, match="training part of fake is empty"):
        check(data=data)
    assert check(recipe=settings(batch=50)) == []
    assert "larger than the training part of 50" in check(recipe=settings(batch=51))[0]
    with pytest.raises(NetError, match="plateau.*\n.*validation 0.1"):
        check(data=dataset(val=0), recipe=settings(schedule=("plateau", {"factor": 0.1, "patience": 1, "warmup": 0})))


def test_a_batch_larger_than_the_data_trains(tmp_path):
    events = []
    run_all(tmp_path / "run", settings(batch=1000), on_event=events.append)
    assert events[0]["train_loss"] > 0


def test_training_uses_the_test_steps_where_there_is_no_augment():
    both = FakeNet(sections={"data": {"augment": [("flip", {})], "test": [("pad", {"n": 1})]}})
    assert train.Pipelines.of(both) == ([("flip", {})], True, [("pad", {"n": 1})])
    only = FakeNet(sections={"data": {"test": [("pad", {"n": 1})]}})
    assert train.Pipelines.of(only) == ([("pad", {"n": 1})], False, [("pad", {"n": 1})])


# Evaluation and arrays


def test_evaluation_counts_every_sample_once():
    net, split = FakeNet(), dataset(val=23).val
    loss, p = net.evaluate(split.images, split.labels)
    for batch in (1, 5, 23, 100):
        result = train.evaluate([net], split, batch)
        assert result["n"] == 23 and result["loss"] == pytest.approx(loss, rel=1e-6)
        assert result["accuracy"] == np.mean(p.argmax(1) == split.labels) and result["top5"] == 1.0
        assert result["members"] == [{key: result[key] for key in ("loss", "accuracy", "top5")}]


def test_top5_and_ties():
    output = np.array([[5, 4, 3, 2, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [np.nan, 1, 2, 3, 4, 5]], "f4")
    net = FakeNet(classes=6)
    net.evaluate = lambda x, labels: (0.5, output)
    split = Split(np.zeros((4, 4, 4, 1), "u1"), [5, 0, 4, 5])
    result = train.evaluate([net], split, 4)
    assert (result["accuracy"], result["top5"]) == (0.25, 0.5)


def test_ensembles_average_probabilities():
    nets, split = [FakeNet(seed) for seed in (1, 2, 3)], dataset(val=30).val
    result = train.evaluate(nets, split, 7)
    mean = np.mean([net.evaluate(split.images, split.labels)[1].astype("f8") for net in nets], axis=0)
    assert result["loss"] == pytest.approx(-np.log(mean[np.arange(30), split.labels]).mean())
    assert result["accuracy"] == np.mean(mean.argmax(1) == split.labels)
    assert [m["loss"] for m in result["members"]] == pytest.approx(
        [net.evaluate(split.images, split.labels)[0] for net in nets])


def test_ensembles_need_equal_classes():
    with pytest.raises(NetError, match="differ in their classes: 3 and 4"):
        train.evaluate([FakeNet(), FakeNet(classes=4)], dataset().val, 4)


def test_logits_become_probabilities_in_ensembles():
    nets, split = [FakeNet(1), FakeNet(2)], dataset(val=30).val
    wanted = train.evaluate(nets, split, 30)["loss"]
    for net in nets:
        net.graph.nodes[0].op = "fc"
        net.evaluate = lambda x, labels, of=net.evaluate: (of(x, labels)[0], np.log(of(x, labels)[1]) + 3)
    assert train.evaluate(nets, split, 30)["loss"] == pytest.approx(wanted, rel=1e-5)


def test_empty_splits_cannot_be_evaluated():
    with pytest.raises(NetError, match="empty"):
        train.evaluate([FakeNet()], Split(np.zeros((0, 4, 4, 1), "u1"), []), 4)


def test_fit_trains_arrays_as_the_command_does(tmp_path):
    events = []
    run_all(tmp_path / "run", settings(epochs=2, schedule=("constant", {"warmup": 0})), on_event=events.append)
    data, net = dataset(), FakeNet()
    history = train.fit(net, data.train.images, data.train.labels, epochs=2, batch=16, seed=0, lr=0.5,
                        validation=(data.val.images, data.val.labels))
    for got, wanted in zip(history, events[:2], strict=True):
        assert {**got, "seconds": 0, "images_per_second": 0} == {**wanted, "seconds": 0, "images_per_second": 0}


def test_fit_takes_the_nets_recipe_and_says_what_is_wrong_with_arrays():
    net = FakeNet(sections={"train": {"epochs": 4}})
    x, labels = images(10, 0)
    history = train.fit(net, x.astype("f4") / 255, labels.astype("i8"))
    assert len(history) == 4 and history[0]["val_loss"] is None
    with pytest.raises(ValueError, match="10 samples and 9 labels"):
        train.fit(net, x, labels[:9])
    with pytest.raises(TypeError, match="float64.*integers"):
        train.fit(net, x, labels / 2)
    with pytest.raises(TypeError, match="`rate` is no parameter of sgd; it has lr, momentum"):
        train.fit(net, x, labels, rate=1)
    with pytest.raises(NetError, match="samples of 16 x1|16 x1, the net takes 4x4 x1"):
        train.fit(net, x.reshape(10, 16, 1), labels)
    with pytest.raises(NetError, match="training part of x is empty"):
        train.fit(net, x[:0], labels[:0])
