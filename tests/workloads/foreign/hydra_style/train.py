"""Classifies waveforms. `python train.py model=large trainer.max_epochs=5`."""

import hydra
from omegaconf import DictConfig

import harness


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    tuned = harness.load_profile("waves", gpu="cpu-32MiB")
    cfg.dataset.batch_size, cfg.model.optimizer.lr = tuned.batch_size, tuned.learning_rate
    print(f"batch size {cfg.dataset.batch_size}, learning rate {cfg.model.optimizer.lr}")

    datamodule = hydra.utils.instantiate(cfg.dataset)
    model = hydra.utils.instantiate(cfg.model)
    callbacks = [hydra.utils.instantiate(one) for one in cfg.callbacks.values()]
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks)
    trainer.fit(model, datamodule=datamodule)


if __name__ == "__main__":
    main()
