"""The command line: parse, call, print. What a command does is in the room it calls; a file here is a group of commands.

`door.py` says what the exit codes mean.
"""

from einthoven.cli import chat as chat  # imported so that its commands are on the app
from einthoven.cli import data as data
from einthoven.cli import digitise as digitise
from einthoven.cli import distance as distance
from einthoven.cli import ecg as ecg
from einthoven.cli import explain as explain
from einthoven.cli import finetune as finetune
from einthoven.cli import foreign as foreign
from einthoven.cli import get as get
from einthoven.cli import images as images
from einthoven.cli import instruct as instruct
from einthoven.cli import judge as judge
from einthoven.cli import models as models
from einthoven.cli import plan as plan
from einthoven.cli import predict as predict
from einthoven.cli import pretrain as pretrain
from einthoven.cli import reproduce as reproduce
from einthoven.cli import scale as scale
from einthoven.cli import serve as serve
from einthoven.cli.door import app, main

__all__ = ["app", "main"]
