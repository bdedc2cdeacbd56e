"""The default image model: a picture of an ECG on paper -> what a reader would say; from prints of real and simulated ones.

    ECGs --measured--> figures, beat --forest, out of fold--> teacher
      |                     |                                    |
      +--paper, distorted--> pictures --page-net--> where leads are, figures and beat of each, superclasses and statements

A few thousand labels do not teach a network to read paper. What is measured of an ECG is known without a reader, and so is
where each lead is printed: these are learned from the same pictures, and the labels ride on them.
`python -m einthoven.train.image_default recipes/image-default.yaml --data PTBXL -o OUT [--test] [--workers 2]` does all of it.

`recipe` what may be chosen, `material` ECGs, figures and teacher, `targets` figures as a network learns them, `pool` pictures
on disk, `learn` the loop, `run` the order of things.
"""
