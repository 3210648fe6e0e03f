"""What `gpu-profile init` recognises in a project, and which data and arguments it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.starting.candidates import MAX_MODELS, Project, look_at_project
from harness.starting.definitions import NO_LITERAL
from harness.starting.sources import read_project

if TYPE_CHECKING:
    from pathlib import Path

STEP = "    def training_step(self, batch, _): ...\n"


def looked(folder: Path, **files: str) -> Project:
    """Write modules, of which `a__b` is `a/b.py`, and look at them."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/").replace("INIT", "__init__") + ".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    return look_at_project(read_project(folder), lambda _: "")


def parts(project: Project) -> list[dict[str, str]]:
    """Return the class paths of each entry."""
    return [
        {part.key: part.definition.class_path for part in entry.parts} for entry in project.entries
    ]


def arguments(project: Project) -> dict[str, Any]:
    """Return the arguments of the only entry's first part."""
    (entry,) = project.entries
    return {argument.name: argument.value for argument in entry.parts[0].arguments}


def test_lightning_modules_by_every_name(tmp_path: Path) -> None:
    """Both packages, aliases, names and star imports are Lightning's."""
    project = looked(
        tmp_path,
        a=f"import lightning as L\nclass A(L.LightningModule):\n{STEP}",
        b=f"import pytorch_lightning as pl\nclass B(pl.LightningModule):\n{STEP}",
        c=f"from lightning.pytorch import LightningModule as M\nclass C(M):\n{STEP}",
        d=f"from lightning.pytorch import *\nclass D(LightningModule):\n{STEP}",
        e=f"import lightning.pytorch\nclass E(lightning.pytorch.LightningModule):\n{STEP}",
        f=f"from other import LightningModule\nclass F(LightningModule):\n{STEP}",
    )
    assert [f"{name}.{name.upper()}" for name in "abcde"] == [
        entry["module"] for entry in parts(project)
    ]


def test_indirect_subclass_inherits_step_and_constructor(tmp_path: Path) -> None:
    """The base is found through a relative import and a package's re-export; itself is abstract."""
    base = "import lightning as L, abc\nclass Base(L.LightningModule, abc.ABC):\n"
    project = looked(
        tmp_path,
        p__base=f"{base}    def __init__(self, depth=[1, 2], n=3): ...\n{STEP}",
        p__INIT="from .base import Base\n",
        p__net="from p import Base\nclass Net(Base): ...\n",
    )
    assert [{"module": "p.net.Net"}] == parts(project)
    assert ["depth=[1, 2]", "n=3"] == project.entries[0].parts[0].defaults


def test_base_that_nobody_makes_is_no_model(tmp_path: Path) -> None:
    """What derives from it is one, and takes the base's arguments through `**keywords`."""
    project = looked(
        tmp_path,
        net="import lightning as L\nclass Base(L.LightningModule):\n"
        f"    def __init__(self, classes): ...\n{STEP}"
        "class Net(Base):\n    def __init__(self, width, **keywords): ...\n",
    )
    assert [{"module": "net.Net"}] == parts(project)
    assert ["width", "classes"] == [*arguments(project)]


def test_classes_that_derive_from_each_other_end(tmp_path: Path) -> None:
    """A circle of bases is no endless loop."""
    project = looked(tmp_path, a="class A(B): ...\nclass B(A): ...\n")
    assert [] == parts(project)


def test_data_that_are_used_together_are_chosen(tmp_path: Path) -> None:
    """Of two data modules the one that a script uses with the module; the other one is named."""
    data = "import lightning as L\nclass {0}(L.LightningDataModule): ...\n"
    project = looked(
        tmp_path,
        a_data=data.format("Cats"),
        b_data=data.format("Dogs"),
        net=f"import lightning as L\nclass Net(L.LightningModule):\n{STEP}",
        train="from net import Net\nfrom b_data import Dogs\nfit(Net(), Dogs())\n",
    )
    assert [{"module": "net.Net", "data": "b_data.Dogs"}] == parts(project)
    assert "the data may also be a_data.Cats" in project.entries[0].comments


def test_module_with_loaders_has_no_data(tmp_path: Path) -> None:
    """A LightningModule with a train_dataloader needs none."""
    project = looked(
        tmp_path,
        net=f"import lightning as L\nclass Net(L.LightningModule):\n{STEP}"
        "    def train_dataloader(self): ...\nclass Data(L.LightningDataModule): ...\n",
    )
    assert [{"module": "net.Net"}] == parts(project)


def test_trainings_are_objects_with_a_step(tmp_path: Path) -> None:
    """A class, and a function that returns one; an optimizer or a function of batches is none."""
    project = looked(
        tmp_path,
        loop="class Loop:\n    def __init__(self, batch_size, device, width): ...\n"
        "    def step(self): ...\n"
        "class Optimizer:\n    def step(self): ...\n"
        "def make(batch_size, device, *, depth=2):\n    return Loop(batch_size, device, depth)\n"
        "def get_batch(batch_size, device):\n    return 1\n",
    )
    assert [{"training": "loop.Loop"}, {"training": "loop.make"}] == parts(project)
    assert [["width"], []] == [
        [argument.name for argument in entry.parts[0].arguments] for entry in project.entries
    ]


def test_plain_modules_only_where_nothing_else_trains(tmp_path: Path) -> None:
    """The whole model is taken, with the data set; its layers are none."""
    layers = (
        "from torch import nn\nfrom torch.utils.data import Dataset\n"
        "class Block(nn.Module):\n    def forward(self, x): ...\n"
        "class Model(nn.Module):\n    def __init__(self):\n        self.b = Block()\n"
        "    def forward(self, x): ...\nclass Data(Dataset): ...\n"
    )
    assert [{"module": "m.Model", "data": "m.Data"}] == parts(looked(tmp_path / "1", m=layers))
    net = f"import lightning as L\nclass Net(L.LightningModule):\n{STEP}"
    both = looked(tmp_path / "2", m=layers, net=net)
    assert [{"module": "net.Net", "data": "m.Data"}] == parts(both)


def test_arguments_are_those_of_the_code(tmp_path: Path) -> None:
    """Literals of calls are taken, the resolution is bound, and the rest must be filled in."""
    project = looked(
        tmp_path,
        net="import lightning as L\nclass Net(L.LightningModule):\n"
        "    def __init__(self, kind, classes, lr, backbone, seq_len=8, *, deep=False, **more): ...\n"
        f"{STEP}",
        train="from net import Net\nNet('big', classes=10, backbone=make(), seq_len=256, other=1)\n",
    )
    expected = {
        "kind": "big",
        "classes": 10,
        "lr": 0.001,
        "backbone": NO_LITERAL,
        "seq_len": "${resolution}",
    }
    assert expected == arguments(project)
    assert {256: "seq_len at train.py:2"} == project.resolutions


def test_trainer_settings_that_a_matrix_takes(tmp_path: Path) -> None:
    """Literal keywords are taken; refused ones, and those that only a run shows, are left out."""
    project = looked(
        tmp_path,
        train="import lightning as L\n"
        "L.Trainer(precision='bf16-mixed', accumulate_grad_batches=4, devices=2, logger=False,"
        " max_epochs=epochs, strategy='ddp', gradient_clip_val=1.0)\n",
    )
    (call,) = project.calls.trainers
    assert {
        "precision": "bf16-mixed",
        "accumulate_grad_batches": 4,
        "gradient_clip_val": 1.0,
    } == call.settings
    assert ["devices=2", "max_epochs=epochs", "strategy='ddp'"] == [
        text.partition(":")[0] for text in call.left_out
    ]


def test_models_that_the_code_makes_stand_first(tmp_path: Path) -> None:
    """Of many, a matrix names those that somebody calls."""
    net = f"import lightning as L\nclass Net(L.LightningModule):\n{STEP}"
    project = looked(tmp_path, a=net, b=net, train="from b import Net\nNet()\n")
    assert [{"module": "b.Net"}, {"module": "a.Net"}] == parts(project)


def test_labels_are_distinct_and_bounded(tmp_path: Path) -> None:
    """Classes of one name have labels of their own, and a matrix names no hundred models."""
    net = f"import lightning as L\nclass Überñet(L.LightningModule):\n{STEP}"
    project = looked(tmp_path, **{f"m{number}": net for number in range(MAX_MODELS + 3)})
    labels = [entry.label for entry in project.entries]
    assert ["beret", "beret_2"] == labels[:2]
    assert len(set(labels)) == len(labels) == MAX_MODELS
    assert f"the matrix names the first {MAX_MODELS} of {MAX_MODELS + 3} models" in project.notes


def test_functions_that_make_a_trainer_are_trainings(tmp_path: Path) -> None:
    """Of transformers or TRL, at once or by a name; one that trains and returns nothing is none."""
    project = looked(
        tmp_path,
        tune="import transformers\nfrom trl import SFTTrainer\n"
        "class Own(transformers.Trainer): ...\n"
        "def at_once(): return transformers.Trainer()\n"
        "def named(width=8):\n    trainer = SFTTrainer()\n    return trainer\n"
        "def own(): return Own()\n"
        "def trains():\n    trainer = SFTTrainer()\n    trainer.train()\n"
        "def other(): return Trainer()\n",
    )
    assert [{"training": f"tune.{name}"} for name in ("at_once", "named", "own")] == parts(project)


LOOP = "from torch import nn\nclass Net(nn.Module):\n    def forward(self): ...\nloss.backward()\n"


def test_script_with_a_loop_is_a_command(tmp_path: Path) -> None:
    """It takes the batch size by its own option, and is preferred to a module without its loop."""
    project = looked(
        tmp_path,
        train=f"{LOOP}parser.add_argument('-b', '--batch_size')\n",
        tools__fit=f"{LOOP}parser.add_argument('--bs')\nparser.add_argument('--max-iters')\n",
        predict="parser.add_argument('--batch-size')\n",
    )
    assert [
        "python train.py --batch_size ${batch_size}",
        "python tools/fit.py --bs ${batch_size} --max-iters 4",
    ] == [entry.command for entry in project.entries]


def test_script_without_such_an_option_leaves_the_module(tmp_path: Path) -> None:
    """A comment of the module names the loop that it has elsewhere."""
    (entry,) = looked(tmp_path, train=LOOP).entries
    assert ("module", None) == (entry.parts[0].key, entry.command)
    assert "a loop of its own at train.py:4" in entry.comments[1]


def test_default_of_the_first_call_is_kept(tmp_path: Path) -> None:
    """A later call, as of a validation set, gives other values."""
    project = looked(
        tmp_path,
        net=f"import lightning as L\nclass Net(L.LightningModule):\n{STEP}",
        data="from torch.utils.data import Dataset\nclass Data(Dataset):\n"
        "    def __init__(self, number=4000): ...\ntrain = Data()\nvalidation = Data(number=200)\n",
    )
    assert [["number=4000"]] == [part.defaults for part in project.entries[0].parts[1:]]
