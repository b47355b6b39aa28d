"""What `evaluate` says of classes, masks and numbers, against counts made by loops."""

import numpy as np
import pytest

import tinyconv
from tinyconv import train
from tinyconv.data import Split


def test_classes_by_hand():
    net = tinyconv.compile("input x3\nsoftmax", device="numpy")
    x = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 0]] * 4
    found = train.evaluate([net], Split(x, [0, 0, 1, 1, 1, 2]), 4)
    assert found["confusion"] == [[2, 0, 0], [1, 2, 0], [1, 0, 0]]
    assert found["precision"] == [2 / 4, 1, None] and found["recall"] == [1, 2 / 3, 0]
    assert found["iou"] == [2 / 4, 2 / 3, 0] and found["dice"] == [4 / 6, 4 / 5, 0]
    assert found["accuracy"] == 4 / 6 and found["top5"] == 1
    assert list(found)[:5] == ["n", "loss", "accuracy", "top5", "members"]


@pytest.mark.parametrize("line", ["loss bce weight=0.4; loss dice weight=0.6", "loss focal", ""])
def test_masks(line):
    rng = np.random.default_rng(0)
    x, masks = rng.standard_normal((5, 6, 7, 2), np.float32), (rng.random((5, 6, 7)) < 0.3).astype(np.uint8)
    text = f"input 6x7 x2\nconv 3 x1 -> sigmoid\ntrain {{ batch 2; {line} }}"
    nets = [tinyconv.compile(text, seed=s, device="numpy") for s in (1, 2)]
    found = train.evaluate(nets[:1], Split(x, masks), 2)
    p = nets[0](x)[..., 0]
    yes, is_ = p >= 0.5, masks == 1
    assert found["accuracy"] == pytest.approx((yes == is_).mean()) and found["top5"] is None
    assert found["confusion"] == [[int((~yes & ~is_).sum()), int((yes & ~is_).sum())],
                                  [int((~yes & is_).sum()), int((yes & is_).sum())]]
    assert found["iou"][1] == pytest.approx((yes & is_).sum() / (yes | is_).sum())
    assert found["dice"][1] == pytest.approx(2 * (yes & is_).sum() / (yes.sum() + is_.sum()))
    assert found["loss"] == pytest.approx(nets[0].evaluate(x, masks)[0], rel=1e-5)
    # Equal members: their ensemble's loss, computed from probabilities, is theirs.
    twice = train.evaluate([nets[0], nets[0]], Split(x, masks), 2)
    assert twice["loss"] == pytest.approx(found["loss"], rel=1e-5) and twice["iou"] == found["iou"]
    both, mean = train.evaluate(nets, Split(x, masks), 3), (p + nets[1](x)[..., 0]) / 2
    assert both["accuracy"] == pytest.approx(((mean >= 0.5) == is_).mean())
    assert [m["loss"] for m in both["members"]] == pytest.approx([n.evaluate(x, masks)[0] for n in nets], rel=1e-5)


def test_masks_of_classes_and_their_ensemble():
    rng = np.random.default_rng(0)
    x, masks = rng.standard_normal((4, 5, 6, 2), np.float32), rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    text = "input 5x6 x2\nconv 3 x3 -> softmax\ntrain { loss ce smoothing=0.1; loss dice }"
    net = tinyconv.compile(text, device="numpy")
    found = train.evaluate([net], Split(x, masks), 3)
    said = net(x).argmax(-1)
    for c in range(3):
        assert found["iou"][c] == pytest.approx(((said == c) & (masks == c)).sum() / ((said == c) | (masks == c)).sum())
    assert sum(map(sum, found["confusion"])) == masks.size
    assert found["accuracy"] == pytest.approx((said == masks).mean())
    assert train.evaluate([net] * 3, Split(x, masks), 3)["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_numbers():
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((7, 3), np.float32), rng.standard_normal((7, 2), np.float32)
    nets = [tinyconv.compile("input x3\nfc 2", seed=s, device="numpy") for s in (1, 2)]
    found = train.evaluate(nets[:1], Split(x, target), 3)
    assert found["mae"] == pytest.approx(np.abs(nets[0](x) - target).mean(), rel=1e-6)
    assert found["loss"] == pytest.approx(np.square(nets[0](x) - target).mean(), rel=1e-6)
    assert found["accuracy"] is None and found["top5"] is None and "confusion" not in found
    both = train.evaluate(nets, Split(x, target), 3)
    assert both["loss"] == pytest.approx(np.square((nets[0](x) + nets[1](x)) / 2 - target).mean(), rel=1e-5)


def test_where_there_is_no_accuracy_the_lowest_loss_is_the_best(tmp_path):
    from tinyconv.data import Dataset

    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3), np.float32)
    target = x.sum(1, keepdims=True)
    net = tinyconv.compile("input x3\nfc 1\ntrain { epochs 4; optimizer sgd lr=0.9 }", device="numpy")
    data = Dataset(Split(x[:30], target[:30]), Split(x[30:], target[30:]), None, None, "sums")
    settings, events = train.Settings.of(net.sections["train"]), []
    with train.start(tmp_path / "run", stem="net", text=net.text, settings=settings, data={},
                     fingerprint=train.fingerprint(data)) as run:
        done = train.train(net, data, run, on_event=events.append)
    assert done["val_accuracy"] is None and done["best_val_accuracy"] is None
    losses = [event["val_loss"] for event in events[:-1]]
    best = tinyconv.load(tmp_path / "run" / "best.safetensors")
    assert train.evaluate([best], data.val)["loss"] == pytest.approx(min(losses), rel=1e-6)
    assert losses.index(min(losses)) < 3  # the rate is so high that it does not end there


def test_the_table_of_classes():
    from tinyconv.cli.eval import class_table

    found = {"confusion": [[2, 0, 0], [1, 2, 0], [1, 0, 0]], "precision": [0.5, 1.0, None], "recall": [1.0, 2 / 3, 0.0],
             "iou": [0.5, 2 / 3, 0.0], "dice": [2 / 3, 0.8, 0.0]}
    assert class_table(found, ["cat", "dog", "a horse"]) == [
        "class        count  precision    recall       IoU      dice  taken most often for",
        "cat              2    50.00 %  100.00 %   50.00 %   66.67 %",
        "dog              3   100.00 %   66.67 %   66.67 %   80.00 %  cat (1)",
        "a horse          1          -    0.00 %    0.00 %    0.00 %  cat (1)"]
    assert class_table({"confusion": [[0] * 31] * 31}, None) == class_table({"mae": 1}, None) == []
