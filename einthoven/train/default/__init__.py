"""The default model: trees and small networks on measured figures and median beats, as one ONNX graph.

    record --represent.features--> (F,) --+-- extremely randomised trees --+
                                          +-- boosted trees ---------------+-- mean of logits --> Platt --> probabilities
                                          +-- networks on figures + beat --+

A thousand ECGs are too few to learn from samples what measuring them already tells: the recipe spends its data on what the
figures mean. `python -m einthoven.train.default recipes/default.yaml --data PTBXL -o OUT [--test]` does all of it.

`recipe` what may be chosen, `views` what the members see, `trees` and `network` the members, `graph` their union as ONNX,
`run` the order of things. Letters: N records, V views, F features, K labels.
"""
