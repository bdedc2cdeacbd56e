"""Language models that learn from conversations about ECGs: `einthoven finetune RECIPE` with `objective: language`.

`recipe.py` all that decides a run, `material.py` ECGs, samples and what is seen of them, `moves.py` what trains, `loop.py` the
loop, `preferences.py` DPO, `run.py` from a recipe to a Bundle.
"""
