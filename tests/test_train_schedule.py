"""Settings and schedules: defaults, ranges, and the learning rate at every batch."""

import json
import math

import pytest

from tinyconv.errors import NetError
from tinyconv.train.schedule import learning_rate, plateaus
from tinyconv.train.settings import LOSSES, OPTIMIZERS, SCHEDULES, TRAIN, Settings


def settings(schedule, epochs=10, lr=1.0, **options):
    filled = {param.name: options.get(param.name, param.default) for param in SCHEDULES[schedule].params}
    optimizer = {param.name: param.default for param in OPTIMIZERS["sgd"].params}
    return Settings(epochs=epochs, optimizer=("sgd", {**optimizer, "lr": lr}), schedule=(schedule, filled))


def rates(made, batches=4, losses=()):
    return [learning_rate(made, epoch, batch, batches, losses[:epoch])
            for epoch in range(made.epochs) for batch in range(batches)]


def test_defaults_and_section():
    assert (Settings.of(None).epochs, Settings.of(None).batch, Settings.of({}).seed) == (10, 32, 0)
    made = Settings.of({"epochs": 3, "loss": [("ce", {"weight": 1})]}, epochs=None, seed=7)
    assert (made.epochs, made.seed, made.loss) == (3, 7, (("ce", {"weight": 1}),))
    assert Settings.of({"epochs": 3}, epochs=5).epochs == 5


def test_every_setting_of_the_schema_is_a_field():
    assert set(TRAIN) == set(Settings.__dataclass_fields__)
    for choices in (OPTIMIZERS, SCHEDULES, LOSSES):
        assert all(name == signature.name for name, signature in choices.items())


def test_json_round_trip():
    made = settings("step", at=(30, 60.5), factor=0.2, warmup=5)
    assert Settings.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("change, words", [
    (dict(epochs=-1), "`epochs`.*0 or more"), (dict(batch=0), "`batch`.*at least 1"), (dict(seed=-1), "`seed`"),
    (dict(optimizer=("sgd", dict(lr=-1, momentum=0, decay=0, nesterov=False))), "`lr`.*-1"),
    (dict(optimizer=("sgd", dict(lr=1, momentum=1, decay=0, nesterov=False))), "`momentum`.*below 1"),
    (dict(optimizer=("sgd", dict(lr=1, momentum=0, decay=0, nesterov=True))), "`nesterov`.*momentum"),
    (dict(optimizer=("sgd", dict(lr=1, momentum=0, decay=-0.1, nesterov=False))), "`decay`"),
    (dict(optimizer=("sgd", dict(lr=float("nan"), momentum=0, decay=0, nesterov=False))), "`lr`.*nan"),
    (dict(schedule=("step", dict(at=(5, 3), factor=0.1, warmup=0))), "`at`.*5,3.*rising"),
    (dict(schedule=("plateau", dict(factor=0, patience=1, warmup=0))), "`factor`"),
    (dict(schedule=("constant", dict(warmup=-1))), "`warmup`"),
    (dict(loss=(("ce", {"weight": 0}),)), "`weight` of `ce`.*0.*above 0"),
    (dict(loss=(("ce", {"weight": 1, "smoothing": 1}),)), "`smoothing` of `ce`.*below 1"),
    (dict(loss=(("ce", {"weight": 1, "weights": (1, -2)}),)), "`weights` of `ce`.*1,-2.*a number for each class"),
    (dict(loss=(("bce", {"weight": 1}), ("focal", {"weight": 1, "alpha": 3}))), "`alpha` of `focal`.*0 to 1"),
])
def test_out_of_range(change, words):
    with pytest.raises(NetError, match=words):
        Settings(**change)


def test_constant_and_warmup():
    assert set(rates(settings("constant", lr=0.5))) == {0.5}
    assert rates(settings("constant", epochs=3, warmup=1.5)) == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1, 1, 1, 1])


def test_step_divides_after_whole_epochs():
    got = rates(settings("step", epochs=4, at=(1, 3), factor=0.5), batches=2)
    assert got == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_cosine_falls_with_every_batch_from_the_full_rate_to_nearly_none():
    got = rates(settings("cosine", epochs=5, lr=0.1), batches=10)
    assert got[0] == 0.1 and got[25] == pytest.approx(0.05) and 0 < got[-1] < 0.001
    assert all(a > b for a, b in zip(got, got[1:]))
    for i, rate in enumerate(got):
        assert rate == pytest.approx(0.05 * (1 + math.cos(math.pi * i / 50)))


def test_cosine_starts_after_the_warmup():
    got = rates(settings("cosine", epochs=6, warmup=2), batches=5)
    assert max(got) == 1 == got[9] == got[10] and got[20] == pytest.approx(0.5)


def test_cosine_down_to_a_share():
    got = rates(settings("cosine", epochs=5, end=0.1), batches=10)
    assert got == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * i / 50)) for i in range(50)])


def test_exponential_falls_after_whole_periods():
    assert rates(settings("exponential", epochs=5, factor=0.5, every=2), 2) == [1, 1, 1, 1, .5, .5, .5, .5, .25, .25]
    assert rates(settings("exponential", epochs=3, factor=0.5), 1) == [1, 0.5, 0.25]


@pytest.mark.parametrize("power, end, warmup", [(1, 0, 0), (2, 0.1, 0), (0.9, 0, 2)])
def test_polynomial(power, end, warmup):
    got = rates(settings("polynomial", epochs=6, power=power, end=end, warmup=warmup), 5)[5 * warmup:]
    total = 5 * (6 - warmup)
    assert got == pytest.approx([(1 - end) * ((total - i) / total) ** power + end for i in range(total)])


def test_onecycle_rises_and_falls():
    got = rates(settings("onecycle", epochs=10, rise=0.4, begin=0.1, end=0.01, lr=2.0), 10)
    for i, rate in enumerate(got):
        low, angle = (0.1, math.pi * (1 - i / 40)) if i < 40 else (0.01, math.pi * (i - 40) / 60)
        assert rate == pytest.approx(2 * (low + (1 - low) * (0.5 + 0.5 * math.cos(angle))))
    assert got[0] == pytest.approx(0.2) and got.index(max(got)) == 40 and max(got) == 2
    later = rates(settings("onecycle", epochs=12, rise=0.4, begin=0.1, end=0.01, lr=2.0, warmup=2), 10)
    assert later[20:] == pytest.approx(got) and later[0] == pytest.approx(0.2 / 20)
    assert rates(settings("onecycle", epochs=2, rise=0, end=0), 2)[0] == 1


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("warmup", [0, 1, 2.5])
def test_every_schedule_warms_up_and_stays_positive(schedule, warmup):
    made = settings(schedule, epochs=8, warmup=warmup, factor=0.5, at=(3, 6))
    got, plain = rates(made, 4), rates(settings(schedule, epochs=8, factor=0.5, at=(3, 6)), 4)
    assert all(0 < rate <= 1 for rate in got)
    for i in range(int(warmup * 4)):
        assert got[i] <= (i + 1) / (warmup * 4) + 1e-12
    if schedule in ("constant", "step", "exponential", "plateau"):
        assert got[int(warmup * 4):] == plain[int(warmup * 4):]


def test_warmup_longer_than_the_run_only_rises():
    got = rates(settings("cosine", epochs=2, warmup=5))
    assert all(a < b for a, b in zip(got, got[1:])) and max(got) < 1


def test_plateau_counts_epochs_without_a_fall():
    assert plateaus([], 0) == 0
    assert plateaus([3, 2, 1], 0) == 0
    assert plateaus([1, 1], 0) == 1
    assert plateaus([1, 1, 1, 1], 1) == 1  # the count starts again after each time
    assert plateaus([1, 1, 1, 1, 1], 1) == 2
    assert plateaus([1, 0.99995, 0.9999], 1) == 1  # a fall of under 1e-4 is none
    got = rates(settings("plateau", epochs=5, factor=0.1, patience=1), 1, [1.0, 1.0, 1.0, 0.5])
    assert got == pytest.approx([1, 1, 1, 0.1, 0.1])
