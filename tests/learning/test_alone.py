"""The engine runs where nothing of the registry, the command line or MLflow is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = '''
import sys

HIDDEN = {"mlflow", "sqlmodel", "sqlalchemy", "alembic", "click"}

class Hiding:
    """A finder that does not find what is not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)

from pathlib import Path

from adaptman.learning import answerer, drawing, models, trainer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.recipe import Recipe
from adaptman.toolspec.formats import output_format

base, workdir = map(Path, sys.argv[1:])
loaded = models.load(base)
renderer = ChatRenderer(loaded.tokenizer, output_format("hermes"))
recipe = Recipe().with_settings({"steps": "2", "replay.samples": "3", "replay.max_tokens": "4"})
drawn = drawing.generate(loaded, renderer, recipe.replay, (), recipe.seed)
messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"}]
trained = trainer.train(base, None, [renderer.answered(messages, ())], drawn, recipe, workdir)
print(len(trained.curves["train/new_loss"]), HIDDEN & set(sys.modules))
'''


def test_two_steps_without_the_other_rooms(base: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(base), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.stdout.split("\n")[0] == "2 set()", done.stderr
