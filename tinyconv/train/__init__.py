"""Training: recipes, the loop, checkpoints, run folders.

    settings = Settings.of(net.sections.get("train"), epochs=…, batch=…, seed=…)    None: as the section says
    check(net, dataset, settings, Pipelines.of(net), note)           before a folder is made; `train` asks again
    run = start(folder or None, stem=…, text=net.text, settings=settings, data={…}, fingerprint=fingerprint(dataset))
    run = resume(folder, epochs=None or a number)                    run.text .settings .data say what to load
    with run:                                                        the net with seed=run.settings.seed
        done = train(net, dataset, run, on_event=…, on_batch=…, on_note=…)    Interrupted: saved, exit code 130
        done = train_ensemble(make_net, dataset, run, …)         where run.settings.ensemble is above 1
    result = evaluate([net, …], split, batch, steps)                 several nets are an ensemble
    found = rate_test(net, dataset, settings)                        losses by learning rate
    history = fit(net, x, labels, epochs=…, batch=…, validation=(x, labels), seed=…, lr=…)

UsageError: nothing was begun (folder not empty, in use, holds no run, another net): exit code 2. Any other NetError: 1.
"""

from .ensemble import train_ensemble
from .evaluate import evaluate
from .fitness import Pipelines, check, fingerprint
from .loop import Interrupted, fit, make_trainer, train
from .rates import rate_test
from .runs import Run, UsageError, resume, start, together
from .schedule import learning_rate
from .settings import TRAIN, Settings

__all__ = ["Interrupted", "Pipelines", "Run", "Settings", "TRAIN", "UsageError", "check", "evaluate", "fingerprint",
           "fit", "learning_rate", "make_trainer", "rate_test", "resume", "start", "together", "train",
           "train_ensemble"]
