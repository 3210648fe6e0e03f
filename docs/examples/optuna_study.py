"""Searches batch size and learning rate of a reference case with Optuna, inside of its lock.

Run it in the root of the repository:

    python -m docs.examples.optuna_study [--trials 8] [--steps 100]
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings

import lightning.pytorch as pl

import harness
from profiles.workloads import Digits, ImageClassifier

try:
    import optuna
except ModuleNotFoundError:
    sys.exit("this example needs Optuna: pip install 'pytest-gpu-profile[optuna]'")


def main() -> None:
    """Run the study, and print its trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a trial")
    options = parser.parse_args()
    quiet()
    tuned = harness.load_profile("alexnet", resolution=16, gpu="cpu-32MiB")

    def objective(trial: optuna.Trial) -> float:
        batch_size = harness.optuna.suggest_batch_size(trial, tuned)
        rate = harness.optuna.suggest_learning_rate(trial, tuned)
        # The range is for the tuned batch. AdamW's rate goes with the square root of the batch.
        scaled = harness.scale_learning_rate(rate, tuned.batch_size, batch_size, "sqrt")
        pl.seed_everything(0, verbose=False)
        module = ImageClassifier("alexnet", resolution=16, lr=scaled)
        trainer = pl.Trainer(
            max_steps=options.steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = Digits(resolution=16, batch_size=batch_size)
        trainer.fit(module, data)
        (result,) = trainer.validate(module, data, verbose=False)
        return result["accuracy"]

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=options.trials)
    for trial in study.trials:
        rate, size = trial.params["learning_rate"], trial.params["batch_size"]
        print(f"batch {size:>4}, learning rate {rate:.2e}: accuracy {trial.value:.3f}")
    print(f"best: batch {study.best_params['batch_size']}, accuracy {study.best_value:.3f}")


def quiet() -> None:
    """Leave the output to the trials."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


if __name__ == "__main__":
    main()
